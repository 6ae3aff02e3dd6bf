import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { describe, expect, it } from 'vitest';
import { accepted, failed } from '../../src/index.ts';
import { DAY, expectStarted, MINUTE, NUMBER, openBench } from './service-bench.ts';

describe('an idempotency key (invariant 9)', () => {
  it('gives twenty requests at the same moment one message and one answer', async () => {
    const { countersign, fake, again } = await openBench();
    const other = await again();
    fake.answer = async () => {
      // The others ask while this one is under way.
      await Promise.all([countersign.ready(), other.ready()]);
      return accepted('1');
    };
    const answers = await Promise.all(
      Array.from({ length: 20 }, (_, index) =>
        (index % 2 === 0 ? countersign : other).verifications.start({ to: NUMBER, idempotencyKey: 'k' }),
      ),
    );
    expect(fake.received).toHaveLength(1);
    expect(answers[0]?.kind).toBe('started');
    expect(new Set(answers.map((answer) => JSON.stringify(answer))).size).toBe(1);
  });

  it('gives the same answer later, and counts nothing', async () => {
    const { countersign, clock, fake } = await openBench({
      limits: { perNumber: [{ max: 1, windowSeconds: 3600 }] },
    });
    const request = { to: NUMBER, purpose: 'payment', metadata: { a: '1', b: '2' }, idempotencyKey: 'k' };
    const first = await countersign.verifications.start(request);
    await countersign.verifications.check({ to: NUMBER, purpose: 'payment', code: fake.lastCode });
    clock.advance(MINUTE);
    const second = await countersign.verifications.start(request);
    expect(JSON.stringify(second)).toBe(JSON.stringify(first));
    expect(fake.received).toHaveLength(1);
  });

  it('does not mind in which order the fields of a request come', async () => {
    const { countersign, fake } = await openBench();
    await countersign.verifications.start({
      to: NUMBER,
      purpose: 'payment',
      metadata: { a: '1', b: '2' },
      idempotencyKey: 'k',
    });
    const answer = await countersign.verifications.start({
      idempotencyKey: 'k',
      metadata: { b: '2', a: '1' },
      purpose: 'payment',
      to: NUMBER,
    });
    expectStarted(answer);
    expect(fake.received).toHaveLength(1);
  });

  it.each([
    { to: '+998901234568' },
    { to: NUMBER, purpose: 'payment' },
    { to: NUMBER, subject: 'u1' },
    { to: NUMBER, channel: 'voice' as const },
    { to: NUMBER, metadata: { a: '1' } },
  ])('is refused for another request: %j', async (other) => {
    const { countersign, fake } = await openBench();
    await countersign.verifications.start({ to: NUMBER, idempotencyKey: 'k' });
    expect(await countersign.verifications.start({ ...other, idempotencyKey: 'k' })).toMatchObject({
      code: 'idempotency-conflict',
    });
    expect(await countersign.messages.send({ to: NUMBER, text: 'Hi', idempotencyKey: 'k' })).toMatchObject({
      code: 'idempotency-conflict',
    });
    expect(fake.received).toHaveLength(1);
  });

  it('of a resend sends once', async () => {
    const { countersign, clock, fake } = await openBench();
    const { id } = expectStarted(await countersign.verifications.start({ to: NUMBER })).verification;
    clock.advance(MINUTE);
    const [one, two] = await Promise.all([
      countersign.verifications.resend({ id, idempotencyKey: 'r' }),
      countersign.verifications.resend({ id, idempotencyKey: 'r' }),
    ]);
    expect(JSON.stringify(one)).toBe(JSON.stringify(two));
    expect(one).toMatchObject({ verification: { sends: 2 } });
    expect(fake.received).toHaveLength(2);
  });

  it('of a custom message gives its text back too', async () => {
    const { countersign, fake } = await openBench();
    const request = { to: NUMBER, text: 'Your driver is here…', idempotencyKey: 'k' };
    const first = await countersign.messages.send(request);
    expect(first).toMatchObject({ message: { text: 'Your driver is here...' } });
    // The text is kept out of the answer that is stored; the repeated answer once came without it.
    const plain = (answer: unknown) => JSON.parse(JSON.stringify(answer));
    expect(plain(await countersign.messages.send(request))).toEqual(plain(first));
    expect(fake.received).toHaveLength(1);
  });

  it('repeats a refusal by all providers as well', async () => {
    const { countersign, fake } = await openBench();
    fake.answer = async () => failed('unavailable', '503');
    const first = await countersign.verifications.start({ to: NUMBER, idempotencyKey: 'k' });
    expect(first).toMatchObject({ code: 'delivery-failed' });
    expect(await countersign.verifications.start({ to: NUMBER, idempotencyKey: 'k' })).toEqual(first);
    expect(fake.received).toHaveLength(1);
  });

  it('is free again when a limit had refused the first request', async () => {
    const { countersign, clock, fake } = await openBench({ limits: { perNumber: [{ max: 1, windowSeconds: 60 }] } });
    await countersign.verifications.start({ to: NUMBER });
    const request = { to: NUMBER, idempotencyKey: 'k' };
    expect(await countersign.verifications.start(request)).toMatchObject({ code: 'rate-limited' });
    clock.advance(MINUTE);
    expectStarted(await countersign.verifications.start(request));
    expect(fake.received).toHaveLength(2);
  });

  it('lives for a day', async () => {
    const { countersign, clock, fake } = await openBench();
    const request = { to: NUMBER, idempotencyKey: 'k' };
    await countersign.verifications.start(request);
    clock.advance(DAY - 1);
    await countersign.verifications.start(request);
    expect(fake.received).toHaveLength(1);
    clock.advance(1);
    await countersign.verifications.start(request);
    expect(fake.received).toHaveLength(2);
  });

  it('keeps nothing from which a stolen database gives the text back (invariant 4)', async () => {
    const fingerprints: unknown[] = [];
    for (const secret of ['one secret of thirty-two bytes and more', 'two secrets of thirty-two bytes and more']) {
      const { countersign, dataDir } = await openBench({}, { config: { secret } });
      // Six digits in a known sentence: a plain hash of it gives way to a million guesses.
      await countersign.messages.send({ to: NUMBER, text: 'Your code is 402917', idempotencyKey: 'k' });
      const database = new DatabaseSync(join(dataDir, 'countersign.db'));
      fingerprints.push(database.prepare('SELECT fingerprint FROM idempotency').get()?.['fingerprint']);
      database.close();
      for (const file of readdirSync(dataDir)) expect(readFileSync(join(dataDir, file)).includes('402917')).toBe(false);
    }
    expect(fingerprints[0]).toEqual(expect.any(String));
    expect(fingerprints[0]).not.toBe(fingerprints[1]);
  });
});
