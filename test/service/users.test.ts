import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { describe, expect, it, onTestFinished } from 'vitest';
import { type Approved, type Countersign, createCountersign, type SignedIn } from '../../src/index.ts';
import { openStoreOf } from './bare-store.ts';
import { type Bench, DAY, expectStarted, FakeProvider, MINUTE, NUMBER, noLimits, openBench } from './service-bench.ts';

const twoApps = { config: { apps: { default: { country: 'UZ' as const, limits: noLimits }, other: {} } } };

async function approve({ countersign, fake }: Bench, to = NUMBER, more: object = {}): Promise<Approved> {
  const { id } = expectStarted(await countersign.verifications.start({ to, ...more })).verification;
  const answer = await countersign.verifications.check({ id, code: fake.lastCode, ...more });
  if (answer.kind === 'refused') throw new Error(answer.code);
  return answer;
}

async function signIn(bench: Bench, to = NUMBER, more: { app?: string } = {}): Promise<SignedIn> {
  const answer = await bench.countersign.users.signIn({ approved: await approve(bench, to, more), ...more });
  if (answer.kind === 'refused') throw new Error(answer.code);
  return answer;
}

/** Another process, whose configuration has the app `default` alone. */
async function openAgainWithout({ dataDir, clock, fake }: Bench): Promise<Countersign> {
  const countersign = await createCountersign(
    {
      mode: 'production',
      secret: 'b1946ac92492d2347c6235b4d2611184d41d8cd98f00b204',
      dataDir,
      providers: { fake: fake.entry() },
    },
    { now: () => clock.now },
  );
  onTestFinished(() => countersign.close());
  return countersign;
}

describe('signing in', () => {
  it('makes a user of an approved number, and knows it the next time', async () => {
    const bench = await openBench({ limits: noLimits });
    const { countersign, clock } = bench;
    const first = await signIn(bench);
    const user = {
      id: '1',
      name: '901234567',
      number: NUMBER,
      fullName: '',
      isActive: true,
      isVerified: true,
      createdAt: clock.now,
    };
    expect(first).toEqual({
      kind: 'signed-in',
      user,
      accessToken: expect.stringMatching(/^[0-9a-f]{40}$/),
      expiresInSeconds: 2_592_000,
      isNew: true,
    });
    clock.now += DAY;
    const second = await signIn(bench);
    expect(second).toMatchObject({ isNew: false, user });
    expect(second.accessToken).not.toBe(first.accessToken);
    for (const { accessToken } of [first, second])
      expect(await countersign.users.ofToken(accessToken)).toEqual({ kind: 'found', app: 'default', user });
  });

  it('makes one user for fifty approvals that come at once', async () => {
    const bench = await openBench({ limits: noLimits });
    const approvals: Approved[] = [];
    for (let i = 0; i < 10; i += 1) approvals.push(await approve(bench));
    const other = await bench.again();
    const answers = await Promise.all(
      Array.from({ length: 50 }, (_, i) =>
        (i % 2 === 0 ? bench.countersign : other).users.signIn({ approved: approvals[i % 10] as Approved }),
      ),
    );
    const signedIn = answers.filter((answer) => answer.kind === 'signed-in');
    expect(signedIn).toHaveLength(50);
    expect(new Set(signedIn.map(({ user }) => user.id))).toEqual(new Set(['1']));
    expect(signedIn.filter(({ isNew }) => isNew)).toHaveLength(1);
    expect(new Set(signedIn.map(({ accessToken }) => accessToken)).size).toBe(50);
  });

  it('refuses an approval whose code went out by e-mail: a mailbox is no number', async () => {
    const mail = new FakeProvider('mail', { channels: ['email'] });
    const bench = await openBench({ routes: { '*': ['mail'] } }, { providers: [mail] });
    const approved = await approve(bench, NUMBER, { email: 'anna@example.org' });
    expect(approved.provesNumber).toBe(false);
    const { signIn: sign } = bench.countersign.users;
    expect(await sign({ approved })).toMatchObject({ kind: 'refused', code: 'number-unproven' });
    // Whoever says otherwise is not believed: the store knows it too.
    expect(await sign({ approved: { ...approved, provesNumber: true } })).toMatchObject({ code: 'number-unproven' });
  });

  it('refuses what is no approval of that number by that app', async () => {
    const bench = await openBench({}, twoApps);
    const { countersign } = bench;
    const approved = await approve(bench);
    const { verification: pending } = expectStarted(await countersign.verifications.start({ to: NUMBER }));
    const refused = { kind: 'refused', code: 'number-unproven' };
    const forged = (change: object) => ({ ...approved, verification: { ...approved.verification, ...change } });
    expect(await countersign.users.signIn({ app: 'other', approved })).toMatchObject(refused);
    expect(await countersign.users.signIn({ approved: forged({ to: '+998901234599' }) })).toMatchObject(refused);
    expect(await countersign.users.signIn({ approved: forged({ to: 'anna@example.org' }) })).toMatchObject(refused);
    expect(await countersign.users.signIn({ approved: forged({ id: pending.id }) })).toMatchObject(refused);
    expect(await countersign.users.signIn({ approved: { ...approved, provesNumber: false } })).toMatchObject(refused);
    expect(await countersign.users.signIn({ approved })).toMatchObject({ kind: 'signed-in', user: { id: '1' } });
    await expect(countersign.users.signIn({ app: 'nobody', approved })).rejects.toBeInstanceOf(RangeError);
  });
});

describe('an access token', () => {
  const invalid = { kind: 'refused', code: 'access-token-invalid' };

  it('is refused at the very millisecond at which its 30 days end, and taken one before', async () => {
    const bench = await openBench();
    const { accessToken } = await signIn(bench);
    const { countersign, clock } = bench;
    const expiresAt = clock.now + 30 * DAY;
    clock.now = expiresAt;
    expect(await countersign.users.ofToken(accessToken)).toMatchObject(invalid);
    expect(await countersign.users.signOut(accessToken)).toMatchObject(invalid);
    clock.now = expiresAt - 1;
    expect(await countersign.users.ofToken(accessToken)).toMatchObject({ kind: 'found' });
  });

  it('is stored as its SHA-256 alone', async () => {
    const bench = await openBench();
    const { accessToken } = await signIn(bench);
    await bench.countersign.close();
    const file = join(bench.dataDir, 'countersign.db');
    expect(readFileSync(file).includes(accessToken)).toBe(false);
    expect(readFileSync(file).includes(Buffer.from(accessToken, 'hex'))).toBe(false);
    const database = new DatabaseSync(file);
    const row = database.prepare('SELECT hash FROM access_token').get();
    database.close();
    expect(row).toEqual({ hash: createHash('sha256').update(accessToken).digest('base64url') });
    expect(JSON.stringify(bench.log)).not.toContain(accessToken);
  });

  it('ends with signing out, and so does no other one', async () => {
    const bench = await openBench({ limits: noLimits });
    const { countersign } = bench;
    const [here, there] = [await signIn(bench), await signIn(bench)];
    expect(await countersign.users.signOut(here.accessToken)).toEqual({ kind: 'signed-out' });
    expect(await countersign.users.signOut(here.accessToken)).toMatchObject(invalid);
    const another = await bench.again();
    expect(await another.users.ofToken(here.accessToken)).toMatchObject(invalid);
    expect(await another.users.ofToken(there.accessToken)).toMatchObject({ kind: 'found' });
    expect(await another.users.signOutEverywhere({ id: '1' })).toEqual({ kind: 'signed-out' });
    expect(await countersign.users.ofToken(there.accessToken)).toMatchObject(invalid);
  });

  it('is worth nothing once its app is no longer configured', async () => {
    const bench = await openBench({}, twoApps);
    const { accessToken } = await signIn(bench, NUMBER, { app: 'other' });
    const { users } = await openAgainWithout(bench);
    expect(await bench.countersign.users.ofToken(accessToken)).toMatchObject({ app: 'other' });
    expect(await users.ofToken(accessToken)).toMatchObject(invalid);
  });

  it('is nothing but 40 lower-case hexadecimal digits', async () => {
    const bench = await openBench();
    const { accessToken } = await signIn(bench);
    for (const wrong of [
      '',
      ' ',
      accessToken.toUpperCase(),
      `${accessToken} `,
      `${accessToken}\n`,
      accessToken.slice(1),
      'f'.repeat(40),
      'a'.repeat(10_000),
      `${accessToken.slice(0, 39)}é`,
    ]) {
      if (wrong === accessToken) continue;
      expect(await bench.countersign.users.ofToken(wrong)).toMatchObject(invalid);
      expect(await bench.countersign.users.signOut(wrong)).toMatchObject(invalid);
    }
    expect(await bench.countersign.users.ofToken(accessToken)).toMatchObject({ kind: 'found' });
  });
});

describe('a user', () => {
  it('changes its names within bounds, and nothing when one of them is bad', async () => {
    const bench = await openBench();
    await signIn(bench);
    const { users } = bench.countersign;
    const longest = { name: 'n'.repeat(100), fullName: 'ф'.repeat(200) };
    expect(await users.update({ id: '1', ...longest })).toMatchObject({ kind: 'found', user: longest });
    for (const [change, field] of [
      [{ name: '' }, 'name'],
      [{ name: 'n'.repeat(101) }, 'name'],
      [{ name: 'a\u0000b' }, 'name'],
      [{ name: 'a\nb', fullName: 'good' }, 'name'],
      [{ name: 'good', fullName: 'f'.repeat(201) }, 'full_name'],
      [{ fullName: 'a\u0085b' }, 'full_name'],
      [{ fullName: 'a\u2028b' }, 'full_name'],
      [{ fullName: '\ud83d' }, 'full_name'],
    ] as const) {
      expect(await users.update({ id: '1', ...change })).toMatchObject({ code: 'request-invalid', field });
    }
    expect(await users.get({ id: '1' })).toMatchObject({ user: longest });
    const said = { name: 'Ая 🚕', fullName: '' };
    expect(await users.update({ id: '1', ...said })).toMatchObject({ user: said });
    expect(await users.update({ id: '1' })).toMatchObject({ user: said });
  });

  it('is unknown under any other id, and to any other app (invariant 13)', async () => {
    const bench = await openBench({}, twoApps);
    const { accessToken } = await signIn(bench);
    const { users } = bench.countersign;
    const unknown = { kind: 'refused', code: 'user-unknown' };
    const wrong = ['', '0', '01', '2', '-1', '1.0', '1e0', '+1', ' 1', '1 ', '９', "1' OR 1=1", '9'.repeat(40)];
    for (const request of [...wrong.map((id) => ({ id })), { app: 'other', id: '1' }]) {
      expect(await users.get(request), request.id).toMatchObject(unknown);
      expect(await users.update({ ...request, name: 'x' })).toMatchObject(unknown);
      expect(await users.signOutEverywhere(request)).toMatchObject(unknown);
      expect(await users.erase(request)).toMatchObject(unknown);
    }
    expect(await users.ofToken(accessToken)).toMatchObject({ user: { name: '901234567' } });
  });
});

describe('erasing', () => {
  it('a user takes its tokens, verifications and messages along; the next one has another id', async () => {
    const bench = await openBench({}, twoApps);
    const { countersign } = bench;
    const { accessToken } = await signIn(bench);
    const pending = expectStarted(await countersign.verifications.start({ to: NUMBER, purpose: 'pay' })).verification;
    const code = bench.fake.lastCode;
    await countersign.messages.send({ to: NUMBER, text: 'Your driver is here.' });
    await countersign.messages.send({ to: NUMBER, text: 'Theirs.', app: 'other' });

    expect(await countersign.users.erase({ id: '1' })).toEqual({ kind: 'erased' });
    expect(await countersign.users.ofToken(accessToken)).toMatchObject({ code: 'access-token-invalid' });
    expect(await countersign.users.get({ id: '1' })).toMatchObject({ code: 'user-unknown' });
    expect(await countersign.users.erase({ id: '1' })).toMatchObject({ code: 'user-unknown' });
    expect(await countersign.verifications.check({ id: pending.id, code })).toMatchObject({
      code: 'verification-unknown',
    });
    expect(await countersign.verifications.check({ to: NUMBER, purpose: 'pay', code })).toMatchObject({
      code: 'code-wrong',
    });
    expect(await countersign.messages.list()).toEqual({ kind: 'found', messages: [] });
    expect(await countersign.messages.list({ app: 'other' })).toMatchObject({ messages: [{ to: NUMBER }] });
    expect(await signIn(bench)).toMatchObject({ isNew: true, user: { id: '2' } });
  });

  it('a number works in any spelling, also where it has no user', async () => {
    const bench = await openBench({ country: 'UZ' });
    const { countersign } = bench;
    const { id } = expectStarted(await countersign.verifications.start({ to: NUMBER })).verification;
    expect(await countersign.numbers.erase({ to: '90 123 45 67' })).toEqual({ kind: 'erased' });
    expect(await countersign.verifications.get({ id })).toMatchObject({ code: 'verification-unknown' });
    // There is nothing to find out by it.
    expect(await countersign.numbers.erase({ to: NUMBER })).toEqual({ kind: 'erased' });
    expect(await countersign.numbers.erase({ to: '12' })).toMatchObject({ code: 'number-invalid', field: 'to' });
  });

  it('a number takes its user along', async () => {
    const bench = await openBench();
    const { accessToken } = await signIn(bench);
    await bench.countersign.numbers.erase({ to: NUMBER });
    expect(await bench.countersign.users.ofToken(accessToken)).toMatchObject({ code: 'access-token-invalid' });
  });

  it('gives back no answer that names the number, and sends nothing for it (invariant 9)', async () => {
    const bench = await openBench({ limits: noLimits });
    const { countersign, fake } = bench;
    const start = { to: NUMBER, idempotencyKey: 'k1' };
    const text = { to: NUMBER, text: 'Hello', idempotencyKey: 'k2' };
    expectStarted(await countersign.verifications.start(start));
    await countersign.messages.send(text);
    const sent = fake.received.length;
    await countersign.numbers.erase({ to: NUMBER });
    expect(await countersign.verifications.start(start)).toMatchObject({ code: 'idempotency-conflict' });
    expect(await countersign.messages.send(text)).toMatchObject({ code: 'idempotency-conflict' });
    expect(fake.received).toHaveLength(sent);
  });

  it('walks the history once at a time, and hardly more often when it is asked for many times at once', async () => {
    const walked: string[] = [];
    let requests = 0;
    const dataDir = mkdtempSync(join(tmpdir(), 'countersign-erase-'));
    const store = openStoreOf(dataDir);
    onTestFinished(() => rmSync(dataDir, { recursive: true }));
    const { eraseHistory } = store;
    let walking = 0;
    let mostWalking = 0;
    store.eraseHistory = async (step) => {
      if (step.resumeAt === undefined) {
        requests += 1;
        return eraseHistory(step);
      }
      walked.push(step.number);
      walking += 1;
      mostWalking = Math.max(mostWalking, walking);
      const done = await eraseHistory(step);
      await new Promise((resolve) => setImmediate(resolve));
      walking -= 1;
      return done;
    };
    const { countersign } = await openBench({ limits: noLimits }, { parts: { store } });
    const numbers = ['+998901234501', '+998901234502', '+998901234503'];
    for (const to of numbers) expectStarted(await countersign.verifications.start({ to }));
    const answers = await Promise.all(
      Array.from({ length: 90 }, (_, i) => countersign.numbers.erase({ to: numbers[i % 3] ?? '' })),
    );
    expect(new Set(answers.map(({ kind }) => kind))).toEqual(new Set(['erased']));
    expect(requests).toBeLessThanOrEqual(90 + 2 * 3);
    expect(mostWalking).toBe(1);
    expect(new Set(walked)).toEqual(new Set(numbers));
    expect(walked.length).toBeLessThanOrEqual(2 * 3);
    expect(await countersign.messages.list()).toMatchObject({ messages: [] });
  });

  it('again, while a walk is under way, takes what was made meanwhile', async () => {
    const dataDir = mkdtempSync(join(tmpdir(), 'countersign-erase-'));
    const store = openStoreOf(dataDir);
    onTestFinished(() => rmSync(dataDir, { recursive: true }));
    const { countersign } = await openBench({ limits: noLimits }, { parts: { store } });
    const [reached, mayGoOn] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
    const { eraseHistory } = store;
    let beginnings = 0;
    store.eraseHistory = async (step) => {
      const done = await eraseHistory(step);
      if (step.resumeAt === undefined) {
        beginnings += 1;
        // The request, its walk, and now the second request, which then looks for a walk to share.
        if (beginnings === 3) setImmediate(mayGoOn.resolve);
      } else if (beginnings === 2) {
        reached.resolve();
        await mayGoOn.promise;
      }
      return done;
    };
    expectStarted(await countersign.verifications.start({ to: NUMBER, purpose: 'first' }));
    const first = countersign.numbers.erase({ to: NUMBER });
    await reached.promise;
    // The walk has just come to its end.
    expectStarted(await countersign.verifications.start({ to: NUMBER, purpose: 'second' }));
    const second = countersign.numbers.erase({ to: NUMBER });
    expect(await Promise.all([first, second])).toEqual([{ kind: 'erased' }, { kind: 'erased' }]);
    expect(await countersign.messages.list()).toMatchObject({ messages: [] });
  });

  it('while a code is on its way leaves nothing of it behind', async () => {
    const fake = new FakeProvider('fake').withReports();
    const bench = await openBench({}, { providers: [fake] });
    const { countersign } = bench;
    const [reached, mayAnswer] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
    const { answer } = fake;
    fake.answer = async (message, signal) => {
      reached.resolve();
      await mayAnswer.promise;
      return answer(message, signal);
    };
    const starting = countersign.verifications.start({ to: NUMBER, idempotencyKey: 'k' });
    await reached.promise;
    await countersign.numbers.erase({ to: NUMBER });
    mayAnswer.resolve();
    const { id } = expectStarted(await starting).verification;
    expect(await countersign.verifications.check({ id, code: fake.lastCode })).toMatchObject({
      code: 'verification-unknown',
    });
    await countersign.close();
    const database = new DatabaseSync(join(bench.dataDir, 'countersign.db'));
    const answers = database.prepare('SELECT answer FROM idempotency').all();
    expect(database.prepare('SELECT count(*) AS n FROM provider_message').get()).toEqual({ n: 0 });
    database.close();
    expect(answers).toHaveLength(1);
    expect(JSON.stringify(answers)).not.toContain('901234567');
  });

  it('does not open a locked number (invariant 3)', async () => {
    const bench = await openBench({ limits: noLimits });
    const { countersign, fake, clock } = bench;
    for (let guess = 0; guess < 20; guess += 1) await countersign.verifications.check({ to: NUMBER, code: '000000' });
    await countersign.numbers.erase({ to: NUMBER });
    clock.now += MINUTE;
    expect(await countersign.verifications.start({ to: NUMBER })).toMatchObject({ code: 'number-locked' });
    expect(fake.received).toEqual([]);
  });
});
