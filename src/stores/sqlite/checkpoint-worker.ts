// Runs in a thread of its own, see `Checkpointer`: copies what is in the log into the database file.
import { DatabaseSync } from 'node:sqlite';
import { parentPort, workerData } from 'node:worker_threads';

const { file } = workerData as { readonly file: string };
const database = new DatabaseSync(file, { timeout: 1000 });
// The log is on the disk before its pages go into the database file, and those before the log is written over.
database.exec('PRAGMA synchronous = NORMAL');
const checkpoint = database.prepare('PRAGMA wal_checkpoint(PASSIVE)');

parentPort?.on('message', (message: 'checkpoint' | 'close') => {
  if (message === 'close') {
    database.close();
    parentPort?.close();
    return;
  }
  try {
    checkpoint.get();
    parentPort?.postMessage('done');
  } catch (error) {
    parentPort?.postMessage(error instanceof Error ? error.message : String(error));
  }
});
