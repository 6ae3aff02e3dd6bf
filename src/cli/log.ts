import { closeSync, mkdirSync, openSync } from 'node:fs';
import { dirname } from 'node:path';
import pino, { type Logger, type StreamEntry } from 'pino';
import type { Config } from '../config/config.ts';
import { CliError, printError } from './output.ts';

/** Lines are written together when this much has come, or after `FLUSH_EVERY_MS`. */
const BUFFER_BYTES = 16_000;
const FLUSH_EVERY_MS = 200;
/** While nothing can be written (a full disk), lines beyond this are dropped instead of filling the memory. */
const MOST_BUFFERED_BYTES = 16 * 1024 * 1024;

export type ServerLog = {
  readonly log: Logger;
  /** Opens `LOG_FILE` anew, after something else has moved it away. */
  reopen(): void;
  /** Writes what is buffered. */
  flush(): void;
};

/**
 * JSON in production, readable in development; and JSON into `LOG_FILE` when that is set.
 * @throws CliError when `LOG_FILE` cannot be written
 */
export async function openLog({
  mode,
  logLevel,
  logFile,
}: Pick<Config, 'mode' | 'logLevel' | 'logFile'>): Promise<ServerLog> {
  const buffered = (destination: number | string) =>
    pino.destination({
      dest: destination,
      sync: false,
      minLength: BUFFER_BYTES,
      maxLength: MOST_BUFFERED_BYTES,
      periodicFlush: FLUSH_EVERY_MS,
      mkdir: true,
    });
  const level = logLevel as StreamEntry['level'] & string;
  if (logFile !== undefined) requireWritable(logFile);
  const file = logFile === undefined ? undefined : buffered(logFile);
  let lastError: string | undefined;
  // Without a listener a full disk, or a directory that is gone at a reopening, would end the server.
  file?.on('error', (error: NodeJS.ErrnoException) => {
    // Each flush tries again, five times a second: the same news is told once.
    if (error.message !== lastError) printError(`LOG_FILE ${logFile} cannot be written (${error.message})`);
    lastError = error.message;
  });
  file?.on('write', () => {
    lastError = undefined;
  });
  const output = mode === 'production' ? buffered(1) : undefined;
  const pretty =
    mode === 'production'
      ? undefined
      : (await import('pino-pretty')).default({
          destination: 1,
          sync: true,
          colorize: process.stdout.isTTY === true,
          ignore: 'pid,hostname',
          translateTime: 'HH:MM:ss.l',
          singleLine: true,
        });
  const streams: StreamEntry[] = [output, pretty, file].flatMap((stream) =>
    stream === undefined ? [] : [{ level, stream }],
  );
  const only = streams.length === 1 ? streams[0]?.stream : undefined;
  const log = pino({ level: logLevel, base: null }, only ?? pino.multistream(streams));
  return {
    log,
    reopen: () => file?.reopen(),
    flush() {
      for (const stream of [output, file]) {
        try {
          stream?.flushSync();
        } catch {
          // Not open yet: then nothing was written either.
        }
      }
    },
  };
}

/** The stream opens the file later, when nobody waits any more for what goes wrong. */
function requireWritable(file: string): void {
  try {
    mkdirSync(dirname(file), { recursive: true });
    closeSync(openSync(file, 'a'));
  } catch (error) {
    throw new CliError(
      `LOG_FILE ${file} cannot be written (${(error as Error).message}). Name a file that this user may write.`,
    );
  }
}
