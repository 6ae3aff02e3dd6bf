import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { isExecutable, makeServerDirectory, unprivilegedAccount } from './machine.ts';
import {
  onDatabase,
  type PostgresServer,
  type PostgresSettings,
  postgresPrograms,
  runToEnd,
  serve,
} from './postgres.ts';

const IN_STEP_PATIENCE_MS = 15_000;

export type PostgresReplica = PostgresServer & {
  /** From now on a primary of its own, which takes writes. */
  promote(): Promise<void>;
};

/** False where PostgreSQL came without `pg_basebackup`, as the npm package does. */
export function canReplicate(): boolean {
  return isExecutable(join(postgresPrograms().directory, 'pg_basebackup'));
}

/** A PostgreSQL that follows another one and refuses writes. */
export async function startPostgresReplica(
  of: PostgresServer,
  settings: PostgresSettings = {},
): Promise<PostgresReplica> {
  const programs = postgresPrograms();
  const account = unprivilegedAccount();
  const directory = makeServerDirectory('postgres', account);
  try {
    const copy = join(programs.directory, 'pg_basebackup');
    const flags = ['--write-recovery-conf', '--checkpoint=fast', '--no-sync', '--wal-method=stream'];
    await runToEnd(copy, ['--dbname', of.url, '--pgdata', directory.path, ...flags], directory.path, account);
    const server = await serve(directory.path, programs, { settings }, account, directory.remove);
    // Not spread: `pid` and `log` are looked up each time.
    return Object.assign(Object.create(server) as PostgresServer, {
      promote: () =>
        onDatabase(server.url, async (client) => {
          await client.query('SELECT pg_promote(true, 15)');
        }),
    });
  } catch (error) {
    await directory.remove();
    throw error;
  }
}

/**
 * From now on each commit waits for the one replica of this server, and on return the replica has all that was committed
 * before. That takes more than the setting: each process of a server reads it some time later, and a replica that answers may
 * be behind.
 */
export async function waitForReplicaOnCommit({ url }: PostgresServer): Promise<void> {
  await onDatabase(url, async (client) => {
    await client.query("ALTER SYSTEM SET synchronous_standby_names = '*'");
    await client.query('SELECT pg_reload_conf()');
    const deadline = performance.now() + IN_STEP_PATIENCE_MS;
    const inStep = "SELECT 1 FROM pg_stat_replication WHERE state = 'streaming' AND sync_state = 'sync'";
    while ((await client.query(inStep)).rowCount === 0) {
      if (performance.now() > deadline) throw new Error(`no replica is in step after ${IN_STEP_PATIENCE_MS} ms`);
      await delay(20);
    }
    // Commits wait from when the checkpointer has read the setting, which it does before a checkpoint.
    await client.query('CHECKPOINT');
    // This commit waits until the replica has it, and so all before it.
    await client.query("SELECT pg_logical_emit_message(true, 'replica', 'in step')");
  });
}
