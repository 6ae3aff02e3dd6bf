import { describe, expect, it } from 'vitest';
import { accepted, failed } from '../../src/index.ts';
import { expectStarted, FakeProvider, NUMBER, noLimits, openBench } from './service-bench.ts';

const LANDLINE = '+998712345678';
const EMAIL = 'ann@example.org';

describe('landlines', () => {
  async function openTexts(app: Parameters<typeof openBench>[0] = {}) {
    const texts = new FakeProvider('texts', { channels: ['sms', 'whatsapp', 'voice'] });
    const bench = await openBench({ limits: noLimits, ...app }, { providers: [texts] });
    return { ...bench, texts, start: bench.countersign.verifications.start };
  }

  it('are sent no text, unless the app says so', async () => {
    for (const allowLandlines of [undefined, false, true]) {
      const { texts, start } = await openTexts(allowLandlines === undefined ? {} : { allowLandlines });
      const answer = await start({ to: LANDLINE });
      if (allowLandlines === true) {
        expect(expectStarted(answer).verification.channel).toBe('sms');
        expect(texts.received).toMatchObject([{ to: LANDLINE, channel: 'sms' }]);
      } else {
        expect(answer).toMatchObject({ code: 'line-type-refused', field: 'to' });
        expect(texts.received).toEqual([]);
      }
    }
  });

  it('are still called, and take nothing that needs an app on a phone', async () => {
    const { texts, start } = await openTexts({ allowLandlines: true });
    expectStarted(await start({ to: LANDLINE, channel: 'voice' }));
    expect(texts.received).toMatchObject([{ channel: 'voice' }]);
    expect(await start({ to: LANDLINE, channel: 'whatsapp' })).toMatchObject({ code: 'line-type-refused' });
  });

  it.each([
    ['premium-rate', '+449098790000'],
    ['shared-cost', '+491801234567'],
    ['toll-free', '+498001234567'],
  ])('are not %s numbers, which stay refused', async (lineType, to) => {
    const { countersign, texts, start } = await openTexts({ allowLandlines: true });
    expect(countersign.numbers.parse({ to })).toMatchObject({ number: { lineType } });
    expect(await start({ to })).toMatchObject({ code: 'line-type-refused' });
    expect(texts.received).toEqual([]);
  });

  it('are sent the texts of a caller’s own as well', async () => {
    const { countersign, texts } = await openTexts({ allowLandlines: true });
    expect(await countersign.messages.send({ to: LANDLINE, text: 'Hello' })).toMatchObject({ kind: 'sent' });
    expect(texts.texts).toEqual(['Hello']);
  });

  it('that a route keeps out by its line types stay out', async () => {
    const { texts, start } = await openTexts({
      allowLandlines: true,
      routes: { '*': [{ provider: 'texts', lineTypes: ['mobile'] }] },
    });
    expect(await start({ to: LANDLINE })).toMatchObject({ code: 'line-type-refused' });
    expect(texts.received).toEqual([]);
  });
});

describe('a code that no text can carry', () => {
  async function openPair() {
    const texts = new FakeProvider('texts', { channels: ['sms'] });
    const mails = new FakeProvider('mails', { channels: ['email'] });
    texts.answer = async () => failed('unavailable', '503');
    const bench = await openBench({ routes: { '*': ['texts', 'mails'] } }, { providers: [texts, mails] });
    return { ...bench, texts, mails, verifications: bench.countersign.verifications };
  }

  it('goes by e-mail within the same start, and says that it did; an approval then proves no number', async () => {
    const { texts, mails, verifications, lastMessage } = await openPair();
    const answer = expectStarted(await verifications.start({ to: NUMBER, email: EMAIL }));
    expect(answer).toMatchObject({ provider: 'mails', verification: { channel: 'email', to: NUMBER } });
    expect(mails.received).toMatchObject([{ channel: 'email', email: EMAIL }]);
    expect(mails.codes).toEqual(texts.codes);
    expect((await lastMessage()).dispatches).toMatchObject([
      { provider: 'texts', channel: 'sms', state: 'failed' },
      { provider: 'mails', channel: 'email', state: 'queued' },
    ]);
    const approved = await verifications.check({ id: answer.verification.id, code: mails.lastCode });
    expect(approved).toMatchObject({ kind: 'approved', provesNumber: false });
    const token = approved.kind === 'approved' ? approved.token : '';
    // It opens no lane of its own for the number either.
    expect(await verifications.start({ to: NUMBER, approvalToken: token })).toMatchObject({ code: 'token-invalid' });
  });

  it('proves no number also where a text carried it afterwards: the e-mail could be read all the same', async () => {
    const { texts, mails, verifications, clock } = await openPair();
    const { id } = expectStarted(await verifications.start({ to: NUMBER, email: EMAIL })).verification;
    texts.answer = async () => accepted('1');
    clock.advance(60_000);
    expect(expectStarted(await verifications.resend({ id })).provider).toBe('texts');
    expect(await verifications.check({ id, code: mails.lastCode })).toMatchObject({ provesNumber: false });
  });

  it('is refused where no address is given', async () => {
    const { mails, verifications } = await openPair();
    expect(await verifications.start({ to: NUMBER })).toMatchObject({ code: 'delivery-failed' });
    expect(mails.received).toEqual([]);
  });
});

describe('the log line of a hand-over that was taken', () => {
  const accept = async (id: (code: string) => string) => {
    const bench = await openBench();
    bench.fake.answer = async ({ code = '' }) => accepted(id(code));
    expectStarted(await bench.countersign.verifications.start({ to: NUMBER }));
    return bench.log.filter(({ message }) => message === 'dispatch accepted');
  };

  it('says the provider’s own id, under which it is found there', async () => {
    expect(await accept(() => 'SM0123abcd')).toMatchObject([{ provider: 'fake', providerMessageId: 'SM0123abcd' }]);
  });

  it.each([
    ['the number', () => `sms-${NUMBER.slice(1)}-1`],
    ['the code', (code: string) => `sms-${code}-1`],
    ['the number in Base64, as WhatsApp’s do', () => 'wamid.HBgMOTk4OTAxMjM0NTY3FQIAERgSQUJDREVGMDEyMzQ1Njc4OQA='],
    ['the code in Base64', (code: string) => `x.${Buffer.from(`code ${code}`).toString('base64')}`],
  ])('says none that has %s in it', async (_, id) => {
    const lines = await accept(id);
    expect(lines).toHaveLength(1);
    expect(lines[0]).not.toHaveProperty('providerMessageId');
  });
});
