import { close, closeSync, fdatasync, fsyncSync, openSync } from 'node:fs';
import { dirname } from 'node:path';

/** SQLite's write-ahead log, as a file to be waited for. */
export type LogFile = {
  /** Calls back when everything written to the log before the call is on the disk, or with the reason why it may not be. */
  sync(done: (error: unknown) => void): void;
  close(): void;
};

/**
 * The log lies beside the database while a connection is open, always the same file: SQLite empties it, and removes it
 * with the last connection only. Locks are on the database and its `-shm`, so a descriptor of ours disturbs none.
 */
export function openLogFile(databaseFile: string): LogFile {
  let descriptor: number | undefined;
  const open = (): number => {
    // `r+`, though nothing is written: Windows flushes no file that is open for reading only.
    const opened = openSync(`${databaseFile}-wal`, 'r+');
    syncDirectory(dirname(databaseFile));
    return opened;
  };
  return {
    sync(done) {
      try {
        descriptor ??= open();
      } catch (error) {
        done(error);
        return;
      }
      fdatasync(descriptor, done);
    },
    close() {
      if (descriptor !== undefined) close(descriptor);
      descriptor = undefined;
    },
  };
}

/** A file that was made just now may be on the disk, and its name not yet. */
function syncDirectory(directory: string): void {
  // Windows keeps names by itself, and opens no directory.
  if (process.platform === 'win32') return;
  const descriptor = openSync(directory, 'r');
  try {
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}
