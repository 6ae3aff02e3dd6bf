import { randomBytes } from 'node:crypto';
import { existsSync, statSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { loadProcessConfig } from '../compose.ts';
import { serverFaults } from '../config/store-servers.ts';
import { groupThousands } from '../domain/price.ts';
import { type Copied, copyStore, type OnProgress, signingKeysOf } from '../migrate/copy-store.ts';
import { databaseFileOf } from '../open-store.ts';
import { createSealer } from '../service/sealer.ts';
import { CopySource } from '../stores/sqlite/copy.ts';
import { defineCommand, expectPositionals, jsonOption } from './command.ts';
import { CliError, columns, durationText, exitCodes, print, printError, printJson, UsageError } from './output.ts';

const TELL_EVERY_MS = 2000;
/** A table with fewer rows is copied in less time than it takes to read a line about it. */
const WORTH_TELLING_ROWS = 10_000;

export const migrate = defineCommand({
  name: 'migrate',
  positionals: '--from sqlite:<path>',
  description: `Copies everything from an embedded database into an empty PostgreSQL: keys, users, history, live verifications,
limits. Stop the server on it first. It is all or nothing, and the source stays as it is; whoever is stopped in the middle
runs it again.`,
  options: {
    from: {
      type: 'string',
      value: 'SOURCE',
      help: 'sqlite: and the data directory of the old server, or its database',
    },
    to: {
      type: 'string',
      value: 'URL',
      help: 'postgres://user:password@host:5432/database; DATABASE_URL unless told otherwise',
    },
    json: jsonOption,
  },
  examples: ['migrate --from sqlite:data', 'migrate --from sqlite:data/countersign.db --to postgres://…'],
  async run({ from, to, json }, positionals) {
    expectPositionals('migrate', positionals);
    const file = sourceFileOf(from);
    const faults = serverFaults({ databaseUrl: to }, () => '--to');
    if (faults.length > 0) throw new UsageError(faults.join('\n'), 'migrate');
    const config = await loadProcessConfig();
    const url = to ?? config.databaseUrl;
    if (url === undefined) throw new UsageError('Say where to with --to postgres://…, or set DATABASE_URL', 'migrate');
    const startedAt = performance.now();
    const source = CopySource.open(file);
    try {
      expectSameSecret(config.secret, source);
      const { place, copied } = await copyTo(url, source);
      const seconds = Math.round((performance.now() - startedAt) / 100) / 10;
      if (json === true) printJson({ from: file, to: place, seconds, tables: copied.map(toJson) });
      else print(summaryOf(copied, seconds));
    } finally {
      source.close();
    }
    return exitCodes.done;
  },
});

async function copyTo(url: string, source: CopySource): Promise<{ place: string; copied: readonly Copied[] }> {
  // The driver is loaded by whoever needs it.
  const { openPostgresStore } = await import('../stores/postgres/postgres-store.ts');
  const tell = (fields: object, message: string) => printError(`${message} ${JSON.stringify(fields)}`);
  const log = { info: () => {}, warn: tell, error: tell };
  const target = await openPostgresStore({ url, poolSize: 2, log });
  try {
    const { place } = target.database;
    printError(`copying ${source.file} to ${place}`);
    return { place, copied: await copyStore(source, target, tellProgress()) };
  } finally {
    await target.close();
  }
}

/** @throws UsageError for anything else than `sqlite:` and a path */
function sourceFileOf(from: string | undefined): string {
  if (from === undefined)
    throw new UsageError('--from is missing: sqlite: and the data directory of the old server', 'migrate');
  const [, path] = /^sqlite:(?:\/\/)?(.+)$/.exec(from) ?? [];
  if (path === undefined)
    throw new UsageError('--from has to look like sqlite:data or sqlite:data/countersign.db', 'migrate');
  const named = resolve(path);
  return statSync(named, { throwIfNoEntry: false })?.isDirectory() === true
    ? databaseFileOf({ dataDir: named })
    : named;
}

/**
 * Codes, sealed texts and keys are bound to the secret: with another one they would be copied and worth nothing.
 * @throws CliError unless the newest signing key opens, which is what a node asks for when it starts
 */
function expectSameSecret(secret: string | undefined, source: CopySource): void {
  const [newest] = signingKeysOf(source);
  // A file that no server was ever started on.
  if (newest === undefined) return;
  const kept = join(dirname(source.file), 'secret');
  const whereItIs = existsSync(kept)
    ? `The old server made its own, in ${kept}: set COUNTERSIGN_SECRET to what that file holds, here and for every node.`
    : 'Set COUNTERSIGN_SECRET to what the old server has, here and for every node.';
  if (secret === undefined) throw new CliError(`COUNTERSIGN_SECRET is not set. ${whereItIs}`);
  try {
    createSealer(secret, randomBytes).open(newest.sealedPrivateKey, newest.id);
  } catch {
    throw new CliError(
      `The signing key in ${source.file} was sealed with another secret than COUNTERSIGN_SECRET. ${whereItIs}`,
    );
  }
}

/** A line for a large table when it is begun, and every two seconds. */
function tellProgress(): OnProgress {
  let toldAt = performance.now();
  return (table, done, total) => {
    if (total < WORTH_TELLING_ROWS) return;
    const now = performance.now();
    if (done > 0 && now - toldAt < TELL_EVERY_MS) return;
    toldAt = now;
    printError(`${table}: ${countText(done)} of ${countText(total)}`);
  };
}

function summaryOf(copied: readonly Copied[], seconds: number): string {
  const rows = copied.map(({ table, sourceRows, targetRows }) => [table, countText(sourceRows), countText(targetRows)]);
  return `${columns([['TABLE', 'SQLITE', 'POSTGRESQL'], ...rows])}

Copied in ${durationText(Math.ceil(seconds))}; every table has as many rows on both sides.
Start the nodes with DATABASE_URL, the same secret and the same configuration. Never start the old server again without
DATABASE_URL: codes that were used here would be good there.`;
}

function toJson({ table, sourceRows, targetRows }: Copied): object {
  return { table, source_rows: sourceRows, target_rows: targetRows };
}

function countText(count: number): string {
  return groupThousands(String(count));
}
