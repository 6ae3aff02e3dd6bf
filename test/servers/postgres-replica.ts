import { join } from 'node:path';
import { isExecutable, makeServerDirectory, unprivilegedAccount } from './machine.ts';
import {
  onDatabase,
  type PostgresServer,
  type PostgresSettings,
  postgresPrograms,
  runToEnd,
  serve,
} from './postgres.ts';

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
