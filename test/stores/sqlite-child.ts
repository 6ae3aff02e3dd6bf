// A process of its own around a SQLite store, for what one process cannot show: to be killed, to be out of room, and to
// race against another. Says what it was acknowledged.
import { setTimeout as delay } from 'node:timers/promises';
import { CountersignError } from '../../src/domain/problem.ts';
import { openSqliteStore } from '../../src/stores/sqlite/sqlite-store.ts';
import {
  checkById,
  DAY,
  perNumber,
  phone,
  startStep,
  T0,
  tally,
  verificationOf,
  wrongDigest,
} from '../../src/testing/store-steps.ts';
import { barrier, leaveParent, readTask, say } from './parent.ts';

/** What it is told to do with a database file. */
export type SqliteTask = { readonly file: string } & (
  | { readonly kind: 'open' }
  /** starts and checks without an end, and says each acknowledged one */
  | { readonly kind: 'work'; readonly workers: number; readonly firstNumber: number }
  | {
      readonly kind: 'race';
      readonly on: 'approval';
      readonly count: number;
      readonly id: string;
      readonly digest: string;
    }
  | { readonly kind: 'race'; readonly on: 'attempts'; readonly count: number; readonly id: string }
  | { readonly kind: 'race'; readonly on: 'limit'; readonly count: number; readonly max: number }
);

const task = readTask<SqliteTask>();

/**
 * A few at a time, with a pause in which the other process can have the lock: all at once would share one commit, and
 * two processes would race only once.
 */
async function inWaves<Result>(count: number, call: (index: number) => Promise<Result>): Promise<Result[]> {
  const results: Result[] = [];
  while (results.length < count) {
    const wave = Array.from({ length: Math.min(4, count - results.length) }, (_, i) => call(results.length + i));
    results.push(...(await Promise.all(wave)));
    await delay(1);
  }
  return results;
}

switch (task.kind) {
  case 'open': {
    await barrier();
    const store = openSqliteStore(task.file);
    await store.probe(T0);
    await store.close();
    say('opened');
    break;
  }
  case 'race': {
    const store = openSqliteStore(task.file);
    await barrier();
    const outcomes = await inWaves<{ readonly kind: string }>(task.count, (index) => {
      if (task.on === 'limit') {
        return store.start(
          startStep(verificationOf({ number: phone(7) }), { buckets: [perNumber(task.max, DAY, phone(7))] }),
        );
      }
      const digest = task.on === 'approval' ? Buffer.from(task.digest, 'hex') : wrongDigest;
      return checkById(store, verificationOf({ id: task.id }), digest, T0 + index);
    });
    await store.close();
    say(tally(outcomes));
    break;
  }
  case 'work': {
    const store = openSqliteStore(task.file);
    const worker = async (lane: number) => {
      for (let index = lane; ; index += task.workers) {
        const number = phone(task.firstNumber + index);
        const verification = verificationOf({ number });
        const step = startStep(verification, { buckets: [perNumber(1, DAY, number)] });
        try {
          await store.start(step);
          say({ started: verification.id, message: step.message.id, number });
          for (let attempt = 0; attempt < 2; attempt += 1) {
            await checkById(store, verification, wrongDigest, T0);
            say({ wrong: verification.id });
          }
        } catch (error) {
          say({ refused: error instanceof CountersignError ? error.code : String(error) });
          say({
            probe: await store.probe(T0).then(
              () => 'ready',
              (reason: unknown) => (reason as CountersignError).code,
            ),
          });
          await delay(10);
        }
      }
    };
    await Promise.all(Array.from({ length: task.workers }, (_, lane) => worker(lane)));
  }
}
leaveParent();
