import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { SendOutcome } from '../../src/index.ts';
import {
  type Bench,
  expectStarted,
  FakeProvider,
  MINUTE,
  NUMBER,
  noLimits,
  openBench,
  report,
  until,
} from './service-bench.ts';

// A process that died while it handed a message over: its provider never answers, and as no timer of it runs on, it does
// nothing more. Housekeeping of the next process runs by itself when it opens.
beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
});
const abandoned: ((outcome: SendOutcome) => void)[] = [];
// Before the services are closed, which wait for what is under way.
afterEach(() => {
  for (const settle of abandoned.splice(0)) settle({ kind: 'failed', reason: 'uncertain', code: 'died' });
  vi.useRealTimers();
});

async function openDying(app: Parameters<typeof openBench>[0] = {}): Promise<Bench> {
  const bench = await openBench(app);
  die(bench);
  return bench;
}

function die({ fake }: Bench): void {
  fake.answer = () => new Promise<SendOutcome>((resolve) => abandoned.push(resolve));
}

function revive({ fake }: Bench): void {
  fake.answer = async ({ messageId }) => ({ kind: 'accepted', providerMessageId: messageId });
}

/** Asks for something, and is not answered: returns when the provider was handed the message. */
async function abandon(bench: Bench, ask: () => Promise<unknown>): Promise<void> {
  const before = bench.fake.received.length;
  void ask().catch(() => {});
  await until(() => bench.fake.received.length === before + 1);
}

async function messages(bench: Bench) {
  const listed = await bench.countersign.messages.list();
  if (listed.kind !== 'found') throw new Error(listed.detail);
  return listed.messages;
}

describe('after a crash (invariant 8)', () => {
  it('the next process sends the same code once more, and it is good', async () => {
    const bench = await openDying();
    await abandon(bench, () => bench.countersign.verifications.start({ to: NUMBER }));
    expect((await messages(bench))[0]?.status).toBe('pending');
    bench.clock.advance(15_000);
    revive(bench);
    const next = await bench.again();
    await until(() => bench.fake.received.length === 2);
    expect(bench.fake.codes[0]).toBe(bench.fake.codes[1]);
    expect(bench.fake.received[1]).toMatchObject({ validitySeconds: 585 });
    await until(async () => (await messages(bench))[0]?.status === 'queued');
    expect(await next.verifications.check({ to: NUMBER, code: bench.fake.lastCode })).toMatchObject({
      kind: 'approved',
    });
  });

  it('nothing is taken up before fifteen seconds: its process may be alive', async () => {
    const bench = await openDying();
    await abandon(bench, () => bench.countersign.verifications.start({ to: NUMBER }));
    bench.clock.advance(14_999);
    const next = await bench.again();
    // It ends its first round before it closes.
    await next.close();
    expect(bench.fake.received).toHaveLength(1);
  });

  it('two processes that start together send it once', async () => {
    const bench = await openDying();
    await abandon(bench, () => bench.countersign.verifications.start({ to: NUMBER }));
    bench.clock.advance(20_000);
    revive(bench);
    const next = await Promise.all([bench.again(), bench.again(), bench.again()]);
    await Promise.all(next.map((each) => each.close()));
    expect(bench.fake.received).toHaveLength(2);
  });

  it('a repeated request gets the answer of the first, and no second message (invariant 9)', async () => {
    const bench = await openDying();
    const request = { to: NUMBER, idempotencyKey: 'k' };
    await abandon(bench, () => bench.countersign.verifications.start(request));
    bench.clock.advance(20_000);
    revive(bench);
    const next = await bench.again();
    await until(() => bench.fake.received.length === 2);
    await until(async () => (await messages(bench))[0]?.status === 'queued');
    const answer = expectStarted(await next.verifications.start(request));
    expect(bench.fake.received).toHaveLength(2);
    expect(await next.verifications.check({ id: answer.verification.id, code: bench.fake.lastCode })).toMatchObject({
      kind: 'approved',
    });
  });

  it('a code that has expired is not sent, and its dispatch says why', async () => {
    const bench = await openDying();
    await abandon(bench, () => bench.countersign.verifications.start({ to: NUMBER, idempotencyKey: 'k' }));
    bench.clock.advance(10 * MINUTE);
    revive(bench);
    await (await bench.again()).close();
    expect(bench.fake.received).toHaveLength(1);
    expect((await messages(bench))[0]).toMatchObject({
      status: 'failed',
      dispatches: [{ state: 'failed', reason: 'expired' }],
    });
    expect(await bench.countersign.verifications.start({ to: NUMBER, idempotencyKey: 'k' })).toMatchObject({
      code: 'delivery-failed',
    });
  });

  it('a code that was canceled is not sent', async () => {
    const bench = await openDying();
    await abandon(bench, () => bench.countersign.verifications.start({ to: NUMBER }));
    const id = (await messages(bench))[0]?.verificationId ?? '';
    await bench.countersign.verifications.cancel({ id });
    bench.clock.advance(20_000);
    revive(bench);
    await (await bench.again()).close();
    expect(bench.fake.received).toHaveLength(1);
  });

  it('a code that was replaced meanwhile is not sent, the newer one is', async () => {
    const bench = await openDying({ resend: 'replace' });
    await abandon(bench, () => bench.countersign.verifications.start({ to: NUMBER }));
    const id = (await messages(bench))[0]?.verificationId ?? '';
    bench.clock.advance(30_000);
    await abandon(bench, () => bench.countersign.verifications.resend({ id }));
    bench.clock.advance(20_000);
    revive(bench);
    await (await bench.again()).close();
    const [older, newer, sentAgain] = bench.fake.codes;
    expect(bench.fake.received).toHaveLength(3);
    expect(sentAgain).toBe(newer);
    expect(sentAgain).not.toBe(older);
  });

  it('a code that no configured provider sends any more is not sent, and whoever repeats the request is told', async () => {
    const bench = await openDying();
    const request = { to: NUMBER, idempotencyKey: 'k' };
    await abandon(bench, () => bench.countersign.verifications.start(request));
    bench.clock.advance(20_000);
    revive(bench);
    await (await bench.again({ routes: { KZ: ['fake'] } })).close();
    expect((await messages(bench))[0]).toMatchObject({ dispatches: [{ state: 'failed', reason: 'unavailable' }] });
    expect(await (await bench.again()).verifications.start(request)).toMatchObject({ code: 'delivery-failed' });
    expect(bench.fake.received).toHaveLength(1);
  });

  it('a custom message is sent with its text', async () => {
    const bench = await openDying();
    await abandon(bench, () => bench.countersign.messages.send({ to: NUMBER, text: 'Your driver is here.' }));
    bench.clock.advance(20_000);
    revive(bench);
    await (await bench.again()).close();
    expect(bench.fake.texts).toEqual(['Your driver is here.', 'Your driver is here.']);
    expect((await messages(bench))[0]?.status).toBe('queued');
  });

  it('many are taken up, all of them, each once', async () => {
    const bench = await openDying({ limits: noLimits });
    for (let index = 0; index < 60; index += 1) {
      await abandon(bench, () => bench.countersign.messages.send({ to: NUMBER, text: `Number ${index}` }));
    }
    bench.clock.advance(20_000);
    revive(bench);
    for (let round = 0; round < 2; round += 1) await (await bench.again()).close();
    expect(bench.fake.received).toHaveLength(120);
    expect(new Set(bench.fake.texts).size).toBe(60);
  });

  it('an approval stands, and so do the wrong guesses (invariants 1, 2, 3)', async () => {
    const bench = await openBench({ limits: noLimits });
    const { id } = expectStarted(await bench.countersign.verifications.start({ to: NUMBER })).verification;
    const code = bench.fake.lastCode;
    for (let guess = 0; guess < 4; guess += 1) await bench.countersign.verifications.check({ id, code: '000000' });
    const next = await bench.again();
    expect(await next.verifications.check({ id, code: '000000' })).toMatchObject({ attemptsLeft: 0 });
    expect(await next.verifications.check({ id, code })).toMatchObject({ code: 'attempts-exhausted' });
  });
});

describe('a message whose outcome is stored by nobody', () => {
  // One whose outcome could not be stored went out every fifteen seconds for as long as it was valid: a custom message
  // for four hours.
  it.each([
    ['a code', (bench: Bench) => bench.countersign.verifications.start({ to: NUMBER })],
    ['a custom message', (bench: Bench) => bench.countersign.messages.send({ to: NUMBER, text: 'Hello' })],
  ])('is handed over four times and no more: %s', async (_, ask) => {
    const bench = await openBench({ limits: noLimits });
    // A provider file with a mistake in it: what it gives back is no outcome.
    bench.fake.answer = async () => undefined as unknown as SendOutcome;
    await expect(ask(bench)).rejects.toThrow();
    for (let round = 0; round < 8; round += 1) {
      bench.clock.advance(20_000);
      await bench.housekeep();
    }
    expect(bench.fake.received).toHaveLength(4);
    expect((await messages(bench))[0]).toMatchObject({
      status: 'unknown',
      dispatches: [{ provider: 'none', state: 'unknown', reason: 'uncertain' }],
    });
  });

  it('is handed to the next provider three times and no more', async () => {
    const first = new FakeProvider('first').withReports();
    const second = new FakeProvider('second');
    second.answer = async () => undefined as unknown as SendOutcome;
    const bench = await openBench({ routes: { '*': ['first', 'second'] } }, { providers: [first, second] });
    expectStarted(await bench.countersign.verifications.start({ to: NUMBER }));
    const providerMessageId = `first ${first.received[0]?.messageId}`;
    await report(bench.countersign, first, { providerMessageId, state: 'undelivered' });
    for (let round = 0; round < 8; round += 1) {
      await bench.housekeep();
      bench.clock.advance(20_000);
    }
    expect(second.received).toHaveLength(3);
    expect((await messages(bench))[0]).toMatchObject({ status: 'undelivered' });
  });
});

describe('closing', () => {
  it('lets what is under way finish: its outcome is stored and answered', async () => {
    const bench = await openBench();
    const handedOver = Promise.withResolvers<void>();
    const outcome = Promise.withResolvers<SendOutcome>();
    bench.fake.answer = () => {
      handedOver.resolve();
      return outcome.promise;
    };
    const answer = bench.countersign.verifications.start({ to: NUMBER });
    await handedOver.promise;
    let isClosed = false;
    const closed = bench.countersign.close().then(() => {
      isClosed = true;
    });
    // As many turns as closing at once would take.
    for (let turn = 0; turn < 1000; turn += 1) await new Promise((resolve) => setImmediate(resolve));
    expect(isClosed).toBe(false);
    outcome.resolve({ kind: 'accepted', providerMessageId: '1' });
    // The store was closed under a text that had been sent: the caller got an error, and the next process sent it again.
    expectStarted(await answer);
    await closed;
    const next = await bench.again();
    const listed = await next.messages.list();
    expect(listed).toMatchObject({ messages: [{ status: 'queued' }] });
  });

  it('waits for one round of housekeeping, and not for those that would have followed', async () => {
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
    const bench = await openDying();
    const send = () => abandon(bench, () => bench.countersign.messages.send({ to: NUMBER, text: 'Hello' }));
    await send();
    // Of the dead process no round runs on.
    vi.clearAllTimers();
    bench.clock.advance(20_000);
    const next = await bench.again();
    await until(() => bench.fake.received.length === 2);
    // One more, which the next round would take up.
    await send();
    bench.clock.advance(20_000);
    // While the provider stalled, each tick had queued one more round, and closing went through them all.
    for (let tick = 0; tick < 10; tick += 1) vi.advanceTimersToNextTimer();
    const closed = next.close();
    for (const settle of abandoned.splice(0, 2)) settle({ kind: 'failed', reason: 'uncertain', code: 'died' });
    await closed;
    expect(bench.fake.received).toHaveLength(3);
  });

  it('closes the store also when a provider cannot be closed', async () => {
    const bench = await openBench();
    bench.fake.close = () => Promise.reject(new Error('ECONNRESET'));
    const other = await bench.again();
    await other.close();
    await expect(other.ready()).rejects.toThrow('closed');
    expect(bench.log).toContainEqual(
      expect.objectContaining({ level: 'warn', message: 'provider cannot be closed', provider: 'fake' }),
    );
  });

  it('twice is no fault', async () => {
    const { countersign } = await openBench();
    await countersign.close();
    await countersign.close();
    await expect(countersign.ready()).rejects.toMatchObject({ code: 'store-unavailable' });
  });
});
