import { accessSync, constants, existsSync, statfsSync, statSync } from 'node:fs';
import { createServer } from 'node:net';
import { dirname, join } from 'node:path';
import { type Composed, compose } from '../../compose.ts';
import type { Config } from '../../config/config.ts';
import { CountersignError } from '../../domain/problem.ts';
import { databaseFileOf, nameOfStore } from '../../open-store.ts';
import { findRunningServer } from '../running-server.ts';
import type { ClockSample } from './clock.ts';
import { type Finding, fault, fine, skipped } from './finding.ts';

const LEAST_FREE_BYTES = 100 * 1024 * 1024;

export type StoreReport = {
  readonly findings: readonly Finding[];
  /** undefined when there is no store yet, or none that can be opened */
  readonly jwks: Awaited<ReturnType<Composed['countersign']['tokens']['jwks']>> | undefined;
  readonly reportSecretOf?: Composed['reportSecretOf'];
  /** what the clock of the store's server showed, where it has one */
  readonly clocks?: readonly ClockSample[];
};

/**
 * Can the store be written, and does the secret open what is in it? Leaves nothing behind that was not there: whoever
 * asks as another user would make files that the server then cannot write.
 */
export async function examineStore(config: Config): Promise<StoreReport> {
  const file = databaseFileOf(config);
  const isEmbedded = config.databaseUrl === undefined;
  if (isEmbedded && !existsSync(file)) return { findings: [futureStore(config.dataDir, file)], jwks: undefined };
  if (config.secret === undefined && !existsSync(secretFileOf(config))) {
    const detail = `${file} is there, and the secret that it was made with is not in ${secretFileOf(config)}`;
    return {
      findings: [fault('store', detail, 'Restore that file, or set COUNTERSIGN_SECRET to what was in it.')],
      jwks: undefined,
    };
  }
  let composed: Composed;
  try {
    composed = await compose({ ...config, providers: [] }, { housekeeping: false });
  } catch (error) {
    return { findings: [storeFault(error)], jwks: undefined };
  }
  const { countersign } = composed;
  try {
    await countersign.ready();
    const jwks = await countersign.tokens.jwks();
    const { reportSecretOf } = composed;
    if (isEmbedded) return { findings: [roomFinding(file)], jwks, reportSecretOf };
    const clock = { source: "the clock of the database's server", aheadMs: Date.now() - composed.now() };
    const answers = fine('store', `${nameOfStore(config)}: answers, and can be written`);
    return { findings: [answers], jwks, reportSecretOf, clocks: [clock] };
  } catch (error) {
    return { findings: [storeFault(error)], jwks: undefined };
  } finally {
    await countersign.close();
  }
}

function storeFault(error: unknown): Finding {
  if (!(error instanceof CountersignError)) throw error;
  // Their messages say what to do already: a sentence each.
  const [, detail = error.message, fix = 'See docs/problems.md, under store-unavailable.'] =
    /^(.*?[.)]) ((?:Is|Set|Start|Give)\b.*)$/s.exec(error.message) ?? /^(.*?\)): (.+)$/s.exec(error.message) ?? [];
  return fault(error.code === 'config-invalid' ? 'secret' : 'store', detail, `${fix[0]?.toUpperCase()}${fix.slice(1)}`);
}

function futureStore(dataDir: string, file: string): Finding {
  let existing = dataDir;
  while (!existsSync(existing) && dirname(existing) !== existing) existing = dirname(existing);
  try {
    if (!statSync(existing).isDirectory()) throw new Error(`${existing} is no directory`);
    accessSync(existing, constants.W_OK | constants.X_OK);
  } catch (error) {
    const detail = `${file} cannot be made (${(error as Error).message})`;
    return fault('store', detail, 'Set DATA_DIR to a directory that this user may write.');
  }
  return fine('store', `the first start makes ${file}; this user may`);
}

function roomFinding(file: string): Finding {
  const { bavail, bsize } = statfsSync(dirname(file));
  const free = `${Math.floor((bavail * bsize) / 1024 / 1024)} MiB free`;
  return bavail * bsize < LEAST_FREE_BYTES
    ? fault(
        'store',
        `${file} can be written, but there is little room: ${free}`,
        'Make room on that disk, or move DATA_DIR to another.',
      )
    : fine('store', `${file} can be written, ${free}`);
}

/** When the embedded database was written last; to be asked before it is opened. */
export function lastWriteOf(config: Config): number | undefined {
  // What is on a server was written by many machines.
  if (config.databaseUrl !== undefined) return undefined;
  const file = databaseFileOf(config);
  const times = [file, `${file}-wal`].filter((path) => existsSync(path)).map((path) => statSync(path).mtimeMs);
  return times.length === 0 ? undefined : Math.max(...times);
}

/** Words of people, and runs of the keyboard, in what should be random. */
const PLACEHOLDER = /change.?me|change.?this|secret|passw|example|insecure|012345678|abcdefgh|qwerty/i;
const MAKE_ONE =
  'Make one with `openssl rand -hex 32`. With a new secret pending codes end, and a database made under the old one does not open.';

/** That it is long enough was checked with the configuration; here: could it be guessed, or read by others? */
export function secretFinding(config: Pick<Config, 'secret' | 'mode' | 'dataDir'>): Finding {
  const { secret, mode } = config;
  if (secret === undefined) {
    const file = secretFileOf(config);
    if (!existsSync(file)) return fine('secret', `the first start makes one, in ${file} (development mode)`);
    const isOpen = process.platform !== 'win32' && (statSync(file).mode & 0o077) !== 0;
    return isOpen
      ? fault('secret', `other users of this machine may read ${file}`, `chmod 600 ${file}`)
      : fine('secret', `made for development, in ${file}`);
  }
  const isRepeated = /^(.{1,16}?)\1+$/s.test(secret);
  if (isRepeated || PLACEHOLDER.test(secret)) {
    const detail = `COUNTERSIGN_SECRET ${isRepeated ? 'repeats itself' : 'reads like a placeholder'}: who guesses it can make every code`;
    // A developer may do as they like.
    return mode === 'production'
      ? fault('secret', detail, MAKE_ONE)
      : skipped('secret', `${detail}; not for production`);
  }
  return fine('secret', `COUNTERSIGN_SECRET has ${Buffer.byteLength(secret)} bytes and looks random`);
}

function secretFileOf({ dataDir }: Pick<Config, 'dataDir'>): string {
  return join(dataDir, 'secret');
}

/** Free, or served by this very installation? */
export async function portFinding(config: Config, jwks: StoreReport['jwks']): Promise<Finding> {
  const { host, port } = config;
  if (port === 0) return skipped('port', 'PORT=0 takes whichever is free');
  const error = await tryToListen(host, port);
  if (error === undefined) return fine('port', `${port} is free on ${host}`);
  if (error.code === 'EACCES')
    return fault('port', `this user may not listen on ${port}`, 'Set PORT to one above 1023.');
  if (error.code !== 'EADDRINUSE')
    return fault('port', `${host}:${port}: ${error.message}`, 'Set HOST to an address of this machine.');
  const server = await findRunningServer(config, jwks);
  if (server.kind === 'ours')
    return fine(
      'port',
      `${port} is served by this installation, in ${server.hasInbox ? 'development' : 'production'} mode`,
    );
  const who = server.kind === 'other' && server.isCountersign ? 'a Countersign with another store' : 'another program';
  return fault('port', `${port} is in use on ${host} by ${who}`, 'Stop it, or set PORT to another.');
}

function tryToListen(host: string, port: number): Promise<NodeJS.ErrnoException | undefined> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', resolve);
    server.listen({ host, port, exclusive: true }, () => server.close(() => resolve(undefined)));
  });
}
