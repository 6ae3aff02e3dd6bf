import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { closedBreaker } from '../../src/domain/circuit-breaker.ts';
import type { PhoneNumber } from '../../src/domain/phone-number.ts';
import type { Store } from '../../src/domain/store.ts';
import { openSqliteStore } from '../../src/stores/sqlite/sqlite-store.ts';
import {
  budgetTake,
  checkById,
  checkBySlot,
  DAY,
  DAY_0,
  digestOf,
  dispatchStep,
  HOUR,
  idempotency,
  MINUTE,
  messageOf,
  messageStep,
  money,
  perNumber,
  phone,
  resend,
  sentCode,
  sentMessage,
  started,
  startedManaged,
  T0,
  verificationOf,
  wrongDigest,
} from '../../src/testing/store-steps.ts';

/** A directory of one's own, as a data directory. */
export function makeDataDirectory() {
  const directory = mkdtempSync(join(tmpdir(), 'countersign-migrate-'));
  return {
    file: join(directory, 'countersign.db'),
    directory,
    remove: () => rmSync(directory, { recursive: true, force: true }),
  };
}

export const lastWeek = T0 - 7 * DAY;
export const tokenExpiresAt = T0 + 30 * DAY;

/** A store with at least one row in each table, and something in each column. */
export async function fillSqlite(file: string) {
  const store = openSqliteStore(file);
  await keepKeys(store);
  const users = await keepUsers(store);
  const resources = await keepResources(store);
  const live = await keepLive(store);
  const messages = await keepMessages(store);
  await keepCounters(store);
  await store.close();
  return { users, resources, live, messages };
}

async function keepKeys(store: Store): Promise<void> {
  const key = { app: 'taxi', createdAt: T0, revokedAt: undefined };
  await store.addApiKey({ ...key, id: 'key_1', name: 'backend', hash: 'hash of one' });
  await store.addApiKey({ ...key, id: 'key_2', name: 'lost', hash: 'hash of another' });
  await store.revokeApiKey('key_2', T0 + 1);
  for (const [index, id] of ['first', 'second'].entries()) {
    const sealedPrivateKey = Uint8Array.from([0, 255, ...randomBytes(62)]);
    await store.addSigningKey({ id, sealedPrivateKey, publicJwk: `{"kid":"${id}"}`, createdAt: T0 + index }, false);
  }
}

async function keepUsers(store: Store) {
  const signIn = async (number: PhoneNumber, hash: string) => {
    const verification = await started(store, { number, createdAt: lastWeek });
    await checkById(store, verification, verification.digests.byId, lastWeek);
    const outcome = await store.signIn({
      now: T0,
      app: 'taxi',
      verificationId: verification.id,
      number,
      name: 'Aziza',
      token: { hash, expiresAt: tokenExpiresAt },
    });
    if (outcome.kind !== 'signed-in') throw new Error('nobody was signed in');
    return outcome.user;
  };
  const user = await signIn(phone(11), 'good token');
  await signIn(phone(11), 'revoked token');
  await store.revokeToken('revoked token', T0);
  await store.updateUser('taxi', user.id, { name: undefined, fullName: 'Aziza Karimova' });
  await signIn(phone(12), 'token of a user who is erased');
  await store.eraseUser('taxi', phone(12));
  return { user };
}

async function keepResources(store: Store) {
  const resource = { app: 'taxi', kind: 'service', parent: undefined, createdAt: T0, updatedAt: T0 };
  await store.addResource({ ...resource, id: 'VA1', uniqueKey: 'main', body: { z: 1, a: { b: ['ü'] } } }, undefined);
  const limit = { ...resource, kind: 'limit', id: 'RK1', parent: 'VA1', uniqueKey: undefined, body: {} };
  await store.addResource(limit, undefined);
  await store.addResource({ ...limit, id: 'RK2' }, undefined);
  await store.removeResource('taxi', 'limit', 'RK2');
  return { service: 'VA1', limit };
}

async function keepLive(store: Store) {
  // One with a code of the caller's own, and whatever else a start may bring; one wrong guess was counted.
  const rich = await started(store, {
    number: phone(21),
    metadata: { ride: '7' },
    email: 'aziza@example.com',
    ending: { kind: 'web-otp', domain: 'example.com' },
    sealedCode: digestOf('sealed code'),
    wording: { brand: 'Own', text: '{code}' },
    codeLength: 8,
  });
  await checkById(store, rich, wrongDigest, T0 + 1);
  const bySubject = await started(store, { number: phone(22), subject: 'user-7', purpose: 'change', lane: 'trusted' });
  await store.recordEmail(bySubject.app, bySubject.id, T0 + 1);
  const managed = await startedManaged(store, { number: phone(23) });
  const repeatedKey = idempotency('answered');
  const repeated = verificationOf({ number: phone(24) });
  const message = messageOf(repeated, { idempotencyKey: repeatedKey.key });
  await started(store, repeated, { message, idempotency: repeatedKey });
  const answer = { app: 'taxi', key: repeatedKey.key, text: '{"answer":1}' };
  await store.recordDispatch(dispatchStep(message, { dispatches: [], state: undefined, dueAt: T0 + MINUTE, answer }));
  const code = { codeNumber: 1, replaces: 0, digests: { byId: digestOf('2 by id'), bySlot: digestOf('2 by slot') } };
  const resent = await resend(store, repeated, T0 + MINUTE, { code });
  if (resent.kind !== 'resent') throw new Error(`the resend was refused: ${resent.kind}`);
  return { rich, bySubject, managed, resent: resent.verification, repeatedKey };
}

async function keepMessages(store: Store) {
  const cost = money(5000);
  const { message } = await sentCode(store, { number: phone(31), createdAt: lastWeek }, [
    { provider: 'twilio', state: 'failed', reason: 'account', errorCode: '20003', providerMessageId: undefined },
    { provider: 'eskiz', providerMessageId: 'E1', estimatedCost: cost },
  ]);
  await store.recordReport('eskiz', { providerMessageId: 'E1', state: 'delivered', cost }, lastWeek);
  await store.recordReport(
    'eskiz',
    { providerMessageId: 'E2', state: 'undelivered', reason: 'coverage', code: '5', cost, optOut: true },
    T0,
  );
  await store.recordReport('eskiz', { providerMessageId: 'E3', state: 'delivered' }, T0);
  const orphan = messageOf(undefined, { number: phone(32), createdAt: lastWeek });
  await store.addMessage(messageStep({ message: orphan, now: lastWeek, orphanedAt: lastWeek + 1 }));
  await store.claimDue(lastWeek + 1, T0 + HOUR, 1);
  const sent = await sentMessage(store, { provider: 'eskiz' }, { message: { number: phone(33) } });
  const later = messageOf(undefined, { number: phone(34) });
  await store.addMessage(messageStep({ message: later, orphanedAt: T0 + DAY }));
  return { reported: message, orphan, sent, later };
}

async function keepCounters(store: Store): Promise<void> {
  const limited = {
    buckets: [
      perNumber(2, DAY, phone(41)),
      { scope: 'address', value: '203.0.113.7', rules: [{ max: 2, windowMs: DAY }] },
    ],
  } as const;
  await started(store, { number: phone(41) }, limited);
  for (let guess = 0; guess < 20; guess += 1) await checkBySlot(store, wrongDigest, T0 + guess, { number: phone(42) });
  await store.takeBudget('taxi', budgetTake(700, 1000));
  await store.recordShadow({
    day: DAY_0,
    app: 'taxi',
    dialect: 'royal-taxi',
    route: 'POST /send',
    outcome: 'different',
    upstreamStatus: 200,
    ourStatus: 400,
    difference: 'status',
    count: 3,
    upstreamExample: '{"ok":true}',
    ourExample: '{"ok":false}',
  });
  const breaker = {
    ...closedBreaker,
    outcomes: [{ at: T0, isFailure: true }],
    openUntil: T0 + 1,
    reason: 'account',
  } as const;
  await store.shareBreaker({ provider: 'twilio', place: '*', breaker, changedAt: T0 });
  await store.lease('due', 'node', T0, T0 + MINUTE);
  await store.probe(T0);
}
