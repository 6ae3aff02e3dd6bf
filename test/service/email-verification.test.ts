import { decodeJwt } from 'jose';
import { describe, expect, it } from 'vitest';
import {
  expectStarted,
  FakeProvider,
  MINUTE,
  NUMBER,
  noLimits,
  openBench,
  report,
  until,
  wrongCode,
} from './service-bench.ts';

const TO = 'Ann.Lee@Example.com';
const ADDRESS = 'ann.lee@example.com';
const byEmail = { to: TO, channel: 'email' } as const;

async function openEmailBench(app: Parameters<typeof openBench>[0] = {}) {
  const fake = new FakeProvider('post', { channels: ['email', 'sms'] }).withReports();
  const other = new FakeProvider('other', { channels: ['email'] });
  const bench = await openBench({ routes: { '*': ['post', 'other'] }, ...app }, { providers: [fake, other] });
  return { ...bench, fake, other };
}

describe('a verification of an e-mail address', () => {
  it('goes there by e-mail, in lower case, and is of no country', async () => {
    const { countersign, fake } = await openEmailBench({ allowedCountries: ['UZ'] });
    const { verification } = expectStarted(await countersign.verifications.start(byEmail));
    expect(verification).toMatchObject({ to: ADDRESS, channel: 'email', country: undefined, locale: 'en' });
    expect(fake.received[0]).toMatchObject({ channel: 'email', email: ADDRESS, to: ADDRESS });
    const answer = await countersign.verifications.check({ id: verification.id, code: fake.lastCode });
    if (answer.kind !== 'approved') throw new Error(answer.code);
    expect(answer.provesNumber).toBe(false);
    const claims = decodeJwt(answer.token);
    expect(claims).toMatchObject({ sub: ADDRESS, email: ADDRESS, email_verified: true, channel: 'email' });
    expect(claims).not.toHaveProperty('phone_number');
    expect(claims).not.toHaveProperty('phone_number_verified');
  });

  it.each([undefined, 'sms', 'voice', 'whatsapp', 'telegram'] as const)(
    'is refused by the channel %s',
    async (channel) => {
      const { countersign, fake } = await openEmailBench();
      const request = channel === undefined ? { to: TO } : { to: TO, channel };
      expect(await countersign.verifications.start(request)).toMatchObject({
        code: 'request-invalid',
        field: 'channel',
      });
      const { verification } = expectStarted(await countersign.verifications.start(byEmail));
      if (channel !== undefined) {
        expect(await countersign.verifications.resend({ id: verification.id, channel })).toMatchObject({
          field: 'channel',
        });
      }
      expect(fake.received).toHaveLength(1);
    },
  );

  it.each(['@', 'a@', '@b', 'a@b@c', 'a b@c.d', 'a@b\n.c', 'a,b@c.d', `${'a'.repeat(65)}@b.c`, '<a@b.c>'])(
    'is refused as %j',
    async (to) => {
      const { countersign, fake } = await openEmailBench();
      expect(await countersign.verifications.start({ to, channel: 'email' })).toMatchObject({ code: 'number-invalid' });
      expect(await countersign.verifications.check({ to, code: '123456' })).toMatchObject({ code: 'number-invalid' });
      expect(fake.received).toEqual([]);
    },
  );

  it('is not sent anywhere else than to what is verified', async () => {
    const { countersign } = await openEmailBench();
    expect(await countersign.verifications.start({ ...byEmail, email: 'eve@example.com' })).toMatchObject({
      field: 'email',
    });
    expectStarted(await countersign.verifications.start({ ...byEmail, email: ADDRESS }));
  });

  it('has limits, guess budget and idempotency by its address, however it is written', async () => {
    const { countersign, fake } = await openEmailBench({
      limits: {
        ...noLimits,
        perNumber: [{ max: 2, windowSeconds: 3600 }],
        perPrefix: [{ max: 1, windowSeconds: 3600 }],
      },
    });
    const keyed = { ...byEmail, idempotencyKey: 'k' };
    const first = await countersign.verifications.start(keyed);
    expect(await countersign.verifications.start(keyed)).toEqual(JSON.parse(JSON.stringify(first)));
    expectStarted(await countersign.verifications.start({ ...byEmail, to: ' ann.lee@EXAMPLE.com ' }));
    expect(await countersign.verifications.start(byEmail)).toMatchObject({ code: 'rate-limited', scope: 'number' });
    const wrong = wrongCode(fake.lastCode);
    for (let guess = 0; guess < 20; guess += 1)
      expect(await countersign.verifications.check({ to: TO, code: wrong })).toMatchObject({ code: 'code-wrong' });
    expect(await countersign.verifications.check({ to: ADDRESS, code: fake.lastCode })).toMatchObject({
      code: 'number-locked',
    });
    expect(await countersign.verifications.check({ to: NUMBER, code: wrong })).toMatchObject({ code: 'code-wrong' });
  });

  it('approves nothing for a number, and a number’s nothing for it (invariant 6)', async () => {
    const { countersign, fake } = await openEmailBench();
    const numbers = expectStarted(
      await countersign.verifications.start({ to: NUMBER, channel: 'email', email: ADDRESS }),
    );
    const code = fake.lastCode;
    expectStarted(await countersign.verifications.start(byEmail));
    expect(await countersign.verifications.check({ to: TO, code })).toMatchObject({ code: 'code-wrong' });
    expect(await countersign.verifications.check({ to: NUMBER, code: fake.lastCode })).toMatchObject({
      code: 'code-wrong',
    });
    expect(await countersign.verifications.find({ to: TO })).toMatchObject({ verification: { to: ADDRESS } });
    const answer = await countersign.verifications.check({ id: numbers.verification.id, code });
    if (answer.kind !== 'approved') throw new Error(answer.code);
    expect(decodeJwt(answer.token)).toMatchObject({ phone_number: NUMBER, phone_number_verified: false });
    expect(decodeJwt(answer.token)).not.toHaveProperty('email');
  });

  it('gives a token that is trusted for the address, and for no number', async () => {
    const { countersign, fake } = await openEmailBench();
    const { verification } = expectStarted(await countersign.verifications.start(byEmail));
    const answer = await countersign.verifications.check({ id: verification.id, code: fake.lastCode });
    if (answer.kind !== 'approved') throw new Error(answer.code);
    const { token: approvalToken } = answer;
    expectStarted(await countersign.verifications.start({ ...byEmail, approvalToken }));
    expect(await countersign.verifications.start({ to: NUMBER, approvalToken })).toMatchObject({
      code: 'token-invalid',
    });
    const refused = await countersign.verifications.start({ ...byEmail, to: 'bob.long@example.com', approvalToken });
    expect(refused).toMatchObject({ code: 'token-invalid', detail: expect.stringContaining('b•••@example.com') });
  });

  it('is resent, fails over after a report, and is taken up after a crash, by e-mail each time', async () => {
    const { clock, countersign, fake, housekeep, log, other } = await openEmailBench();
    const { verification } = expectStarted(await countersign.verifications.start(byEmail));
    clock.advance(MINUTE);
    expectStarted(await countersign.verifications.resend({ id: verification.id }));
    const providerMessageId = `post ${fake.received[1]?.messageId}`;
    await report(countersign, fake, { providerMessageId, state: 'undelivered' });
    await until(() => other.received.length === 1);
    const { answer } = fake;
    fake.answer = () => new Promise(() => {});
    void countersign.verifications.start(byEmail);
    await until(() => fake.received.length === 3);
    fake.answer = answer;
    clock.advance(MINUTE);
    await housekeep();
    const all = [...fake.received, ...other.received];
    expect(all).toHaveLength(5);
    expect(all.every(({ channel, email }) => channel === 'email' && email === ADDRESS)).toBe(true);
    expect(new Set([...fake.codes, ...other.codes]).size).toBe(1);
    const said = JSON.stringify(log);
    expect(said).toContain('a•••@example.com');
    expect(said.toLowerCase()).not.toContain('ann.lee');
  });

  it('is erased by its address', async () => {
    const { countersign } = await openEmailBench();
    const { verification } = expectStarted(await countersign.verifications.start(byEmail));
    expect(await countersign.numbers.erase({ to: TO })).toEqual({ kind: 'erased' });
    expect(await countersign.verifications.get({ id: verification.id })).toMatchObject({
      code: 'verification-unknown',
    });
    expect(await countersign.messages.list({ to: TO })).toEqual({ kind: 'found', messages: [] });
  });

  it('is listed by its address', async () => {
    const { countersign } = await openEmailBench();
    await countersign.verifications.start(byEmail);
    await countersign.verifications.start({ to: NUMBER });
    const listed = await countersign.messages.list({ to: TO });
    expect(listed.kind === 'found' && listed.messages.map(({ to }) => to)).toEqual([ADDRESS]);
  });
});
