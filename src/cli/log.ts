import pino, { type Logger, type StreamEntry } from 'pino';
import type { Config } from '../config/config.ts';

/** Lines are written together when this much has come, or after `FLUSH_EVERY_MS`. */
const BUFFER_BYTES = 8192;
const FLUSH_EVERY_MS = 200;

export type ServerLog = {
  readonly log: Logger;
  /** Opens `LOG_FILE` anew, after something else has moved it away. */
  reopen(): void;
  /** Writes what is buffered. */
  flush(): void;
};

/** JSON in production, readable in development; and JSON into `LOG_FILE` when that is set. */
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
      periodicFlush: FLUSH_EVERY_MS,
      mkdir: true,
    });
  const level = logLevel as StreamEntry['level'] & string;
  const file = logFile === undefined ? undefined : buffered(logFile);
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
