import { setTimeout as delay } from 'node:timers/promises';
import type { Reply } from './caller.ts';
import type { Installation } from './installation.ts';
import type { FlowRecord, MessageSeen, VerificationRecord } from './ledger.ts';
import { keyedAsks, type Traffic } from './traffic.ts';

const AT_ONCE = 12;
const TRIES = 5;
const TRY_AGAIN_AFTER_MS = 200;
/**
 * A message that its node left is orphaned after 15 s, and somebody looks every five; whoever took it up may have died in
 * turn, and then it is 15 s more.
 */
const SETTLED_WITHIN_MS = 45_000;
const LOOK_AGAIN_MS = 500;

/** Asks for everything that was acknowledged, and has what was left open answered. */
export async function lookAfterwards(installation: Installation, traffic: Traffic): Promise<void> {
  await inTurns(traffic.records, async (record) => {
    switch (record.kind) {
      case 'verification':
      case 'text':
        return finishKeyed(traffic, record);
      case 'limit':
        // Whatever room there is left is used up, so that it can be counted.
        for (let tried = 0; tried <= record.max && record.refused === 0; tried += 1)
          await traffic.startAgainst(record, `q${tried}`);
        await traffic.startAgainst(record, 'last');
        return;
      case 'guesses':
        for (let tried = 0; tried <= record.max && !record.isLocked; tried += 1) await traffic.guessAt(record);
        return;
    }
  });
  await waitForMessages(traffic);
  // Now that each code has gone out that was to go out.
  await inTurns(traffic.records, async (record) => {
    if (record.kind === 'verification') await finishVerification(traffic, record);
  });
  for (const record of traffic.records) {
    if (record.kind !== 'guesses') record.handOvers = installation.handOversTo(record.number);
  }
}

async function finishKeyed(traffic: Traffic, record: Parameters<Traffic['sendKeyed']>[0]): Promise<void> {
  const ask = keyedAsks.get(record);
  if (ask === undefined) throw new Error('a record without its request');
  // Also of what was answered: the key still has to stand for the same.
  await traffic.sendKeyed(record, ask, TRIES, true);
}

async function finishVerification(traffic: Traffic, record: VerificationRecord): Promise<void> {
  const [id] = record.ids;
  if (id === undefined) return;
  const before = await look(traffic, `/v1/verifications/${id}`);
  if (before?.kind !== 'answered') return;
  if (before.status === 404) {
    record.state = 'unknown';
    return;
  }
  const { code } = record;
  const wasApproved = record.checks.some(({ outcome }) => outcome === 'approved');
  if (code !== undefined) {
    const outcome = await traffic.check(record, id, code, true);
    if (wasApproved) {
      record.checks.pop();
      record.again = outcome;
    }
  }
  const after = await look(traffic, `/v1/verifications/${id}`);
  if (after?.kind !== 'answered') return;
  record.state = after.status === 404 ? 'unknown' : String(after.body['status']);
  record.attemptsLeft = Number(after.body['attempts_left']);
}

/** Until each message has an outcome, or the time is over. */
async function waitForMessages(traffic: Traffic): Promise<void> {
  const deadline = performance.now() + SETTLED_WITHIN_MS;
  let open = traffic.records.flatMap((record) => (record.kind === 'guesses' ? [] : [record]));
  for (;;) {
    const unsettled = new Set<FlowRecord>();
    await inTurns(open, async (record) => {
      const reply = await look(traffic, `/v1/messages?to=${encodeURIComponent(record.number)}`);
      if (reply?.kind === 'answered' && reply.status === 200) {
        const listed = reply.body['messages'] as MessageSeen[];
        record.messages = listed.map(({ id, status }) => ({ id, status }));
      }
      if (record.messages.length === 0 || record.messages.some(({ status }) => status === 'pending'))
        unsettled.add(record);
    });
    open = open.filter((record) => unsettled.has(record));
    if (open.length === 0 || performance.now() > deadline) return;
    await delay(LOOK_AGAIN_MS);
  }
}

async function look(traffic: Traffic, path: string): Promise<Reply | undefined> {
  for (let tried = 1; tried <= TRIES; tried += 1) {
    const reply = await traffic.call({ method: 'GET', path, what: 'look' });
    if (reply.kind === 'answered' && reply.status < 500) return reply;
    await delay(TRY_AGAIN_AFTER_MS);
  }
  return undefined;
}

async function inTurns<Item>(items: readonly Item[], work: (item: Item) => Promise<void>): Promise<void> {
  const waiting = items.values();
  await Promise.all(
    Array.from({ length: AT_ONCE }, async () => {
      for (const item of waiting) await work(item);
    }),
  );
}
