// A process of its own around a PostgreSQL store: a node among others.
import { openPostgresStore } from '../../src/stores/postgres/postgres-store.ts';
import {
  checkById,
  DAY,
  perNumber,
  phone,
  started,
  startStep,
  T0,
  tally,
  verificationOf,
  wrongDigest,
} from '../../src/testing/store-steps.ts';
import { barrier, leaveParent, readTask, say } from './parent.ts';
import { silent } from './postgres-log.ts';

/** What it is told to do with a database. */
export type PostgresTask = { readonly url: string } & (
  | { readonly does: 'open' }
  | { readonly does: 'approve'; readonly count: number; readonly id: string; readonly digest: string }
  | { readonly does: 'guess'; readonly count: number; readonly id: string }
  | { readonly does: 'limit'; readonly count: number; readonly max: number }
  | { readonly does: 'start'; readonly count: number; readonly first: number; readonly at: number }
);

const task = readTask<PostgresTask>();
const open = () => openPostgresStore({ url: task.url, poolSize: 4, log: silent });

async function race(count: number, call: (index: number) => Promise<{ readonly kind: string }>): Promise<void> {
  say(tally(await Promise.all(Array.from({ length: count }, (_, index) => call(index)))));
}

if (task.does === 'open') {
  await barrier();
  const store = await open();
  await started(store, { number: phone(process.pid) });
  await store.close();
  say('opened');
} else {
  const store = await open();
  await store.probe(T0);
  await barrier();
  const { does, count } = task;
  if (does === 'approve') {
    const digest = Buffer.from(task.digest, 'hex');
    await race(count, (index) => checkById(store, verificationOf({ id: task.id }), digest, T0 + index));
  } else if (does === 'guess') {
    await race(count, (index) => checkById(store, verificationOf({ id: task.id }), wrongDigest, T0 + index));
  } else if (does === 'limit') {
    const buckets = [
      perNumber(task.max, DAY, phone(7)),
      { scope: 'app', value: '', rules: [{ max: task.max, windowMs: DAY }] } as const,
    ];
    await race(count, () => store.start(startStep(verificationOf({ number: phone(7) }), { buckets })));
  } else {
    // A day that has no table yet, for starts of many numbers at once.
    await race(count, (index) =>
      store.start(startStep(verificationOf({ number: phone(task.first + index), createdAt: task.at }))),
    );
  }
  await store.close();
}
leaveParent();
