import { describe, expect, it } from 'vitest';
import { accepted, failed, type StartRequest } from '../../src/index.ts';
import { expectStarted, FakeManaged, FakeProvider, MINUTE, NUMBER, noLimits, openBench } from './service-bench.ts';

const LANDLINE = '+998712345678';
const GERMAN = '+4915123456789';

type Routes = NonNullable<NonNullable<Parameters<typeof openBench>[0]>['routes']>;

/** Which of them was handed something, and by which channel, in the order of the providers. */
function handedOver(providers: readonly (FakeProvider | FakeManaged)[]): string[] {
  return providers.flatMap(({ id, received }) => received.map(({ channel }) => `${id} ${channel}`));
}

/** The numbers 0 to 2^32 - 1, evenly spread and always the same, where a draw wants four bytes. */
function seededBytes(seed: number): (length: number) => Uint8Array {
  let state = seed >>> 0;
  return (length) => {
    const bytes = new Uint8Array(length);
    for (let index = 0; index < length; index += 1) {
      // xorshift32, of G. Marsaglia: enough for a draw that a test repeats.
      state ^= state << 13;
      state ^= state >>> 17;
      state ^= state << 5;
      bytes[index] = state >>> 24;
    }
    return bytes;
  };
}

describe('a route', () => {
  it('is the one of the longest prefix, else of the country, else the one for all others', async () => {
    const providers = ['beeline', 'uzbek', 'world', 'mobile'].map((id) => new FakeProvider(id));
    const { countersign } = await openBench(
      { routes: { '*': ['world'], UZ: ['uzbek'], '+99890': ['mobile'], '+998901': ['beeline'] }, limits: noLimits },
      { providers },
    );
    for (const to of [NUMBER, '+998902234567', '+998931234567', GERMAN])
      expectStarted(await countersign.verifications.start({ to }));
    expect(providers.map(({ received }) => received.map(({ to }) => to))).toEqual([
      [NUMBER],
      ['+998931234567'],
      [GERMAN],
      ['+998902234567'],
    ]);
  });

  it('that ends is no reason to try the one of the country or the world', async () => {
    const providers = ['narrow', 'world'].map((id) => new FakeProvider(id));
    (providers[0] as FakeProvider).answer = async () => failed('unavailable', '503');
    const { countersign } = await openBench({ routes: { '+99890': ['narrow'], '*': ['world'] } }, { providers });
    expect(await countersign.verifications.start({ to: NUMBER })).toMatchObject({ code: 'delivery-failed' });
    expect(handedOver(providers)).toEqual(['narrow sms']);
  });

  it('has several channels when the request names none', async () => {
    const telegram = new FakeProvider('telegram', { channels: ['telegram'], codesOnly: true });
    const caller = new FakeProvider('caller', { channels: ['sms', 'voice'] });
    telegram.answer = async () => failed('coverage', 'PHONE_NOT_IN_TELEGRAM');
    const { countersign } = await openBench(
      { routes: { '*': ['telegram', { provider: 'caller', channel: 'voice' }] } },
      { providers: [telegram, caller] },
    );
    const { verification } = expectStarted(await countersign.verifications.start({ to: NUMBER }));
    expect(handedOver([telegram, caller])).toEqual(['telegram telegram', 'caller voice']);
    // The channel that took it, and not the one that was planned.
    expect(verification.channel).toBe('voice');
    expect(await countersign.verifications.get({ id: verification.id })).toMatchObject({
      verification: { channel: 'voice' },
    });
  });

  it('keeps to the channel that the request names', async () => {
    const telegram = new FakeProvider('telegram', { channels: ['telegram'] });
    const texts = new FakeProvider('texts', { channels: ['sms'] });
    const both = new FakeProvider('both', { channels: ['sms', 'voice'] });
    texts.answer = async () => failed('unavailable', '503');
    const providers = [telegram, texts, both];
    const { countersign } = await openBench(
      { routes: { '*': ['telegram', { provider: 'both', channel: 'voice' }, 'texts', 'both'] } },
      { providers },
    );
    expectStarted(await countersign.verifications.start({ to: NUMBER, channel: 'sms' }));
    expect(handedOver(providers)).toEqual(['texts sms', 'both sms']);
    expect(await countersign.verifications.start({ to: NUMBER, channel: 'whatsapp' })).toMatchObject({
      code: 'no-provider',
      detail: expect.stringContaining('to UZ by whatsapp'),
    });
  });

  it('hands nothing to the same provider by the same channel twice', async () => {
    const both = new FakeProvider('both');
    both.answer = async () => failed('uncertain', '500');
    const { countersign, lastMessage } = await openBench(
      { routes: { '*': ['both', { provider: 'both', channel: 'voice' }] } },
      { providers: [both] },
    );
    // Both entries call when a call is asked for: the phone of the person rang twice.
    await countersign.verifications.start({ to: NUMBER, channel: 'voice' });
    expect(handedOver([both])).toEqual(['both voice']);
    expect((await lastMessage()).dispatches).toHaveLength(1);
    const explained = countersign.routes.explain({ to: NUMBER, channel: 'voice' });
    expect(explained).toMatchObject({ route: { tried: [{ provider: 'both', channel: 'voice' }] } });
  });

  it('that nobody wrote down never calls, unless a call is asked for', async () => {
    const caller = new FakeProvider('caller', { channels: ['voice'] });
    const texts = new FakeProvider('texts', { channels: ['sms', 'voice'] });
    const providers = [caller, texts];
    const { countersign } = await openBench({ limits: noLimits }, { providers });
    texts.answer = async () => failed('unavailable', '503');
    expect(await countersign.verifications.start({ to: NUMBER })).toMatchObject({ code: 'delivery-failed' });
    expect(handedOver(providers)).toEqual(['texts sms']);
    expectStarted(await countersign.verifications.start({ to: NUMBER, channel: 'voice' }));
    expect(handedOver(providers)).toEqual(['caller voice', 'texts sms']);
  });

  it('calls a landline, and sends it no text', async () => {
    const texts = new FakeProvider('texts', { channels: ['sms'] });
    const caller = new FakeProvider('caller', { channels: ['voice'] });
    const providers = [texts, caller];
    const { countersign } = await openBench({ routes: { '*': ['texts', 'caller'] } }, { providers });
    expectStarted(await countersign.verifications.start({ to: LANDLINE }));
    expect(handedOver(providers)).toEqual(['caller voice']);
    expect(await countersign.verifications.start({ to: LANDLINE, channel: 'sms' })).toMatchObject({
      code: 'line-type-refused',
      field: 'to',
      detail: 'A fixed-line number does not take a message by sms. Use a mobile number.',
    });
  });

  it('is passed by where an entry is for other line types', async () => {
    const providers = ['mobiles', 'landlines'].map((id) => new FakeProvider(id));
    const { countersign } = await openBench(
      {
        routes: {
          '*': [
            { provider: 'landlines', channel: 'voice', lineTypes: ['fixed-line'] },
            { provider: 'mobiles', lineTypes: ['mobile'] },
          ],
          DE: [{ provider: 'landlines', lineTypes: ['fixed-line'] }],
        },
      },
      { providers },
    );
    for (const to of [NUMBER, LANDLINE]) expectStarted(await countersign.verifications.start({ to }));
    expect(handedOver(providers)).toEqual(['mobiles sms', 'landlines voice']);
    expect(await countersign.verifications.start({ to: GERMAN })).toMatchObject({
      code: 'line-type-refused',
      detail: 'A mobile number does not take a message. Use a mobile number.',
    });
  });

  it('passes by a provider that does not deliver to the country', async () => {
    const uzbek = new FakeProvider('uzbek', { countries: ['UZ'] });
    const world = new FakeProvider('world');
    const { countersign } = await openBench(
      { routes: { '*': ['uzbek', 'world'], KZ: ['uzbek'] } },
      { providers: [uzbek, world] },
    );
    for (const to of [NUMBER, GERMAN]) expectStarted(await countersign.verifications.start({ to }));
    expect(handedOver([uzbek, world])).toEqual(['uzbek sms', 'world sms']);
    expect(await countersign.verifications.start({ to: '+77012345678' })).toMatchObject({
      code: 'no-provider',
      detail: expect.stringContaining('sends to KZ.'),
    });
  });

  it('carries a text of the caller only by who can: not where only a code fits', async () => {
    const managed = new FakeManaged('managed');
    const codes = new FakeProvider('codes', { codesOnly: true });
    const texts = new FakeProvider('texts');
    const providers = [managed, codes, texts];
    const { countersign } = await openBench(
      { routes: { '*': ['managed', 'codes', 'texts'], DE: ['managed', 'codes'] } },
      { providers },
    );
    expect(await countersign.messages.send({ to: NUMBER, text: 'Your driver is here.' })).toMatchObject({
      kind: 'sent',
    });
    expect(handedOver(providers)).toEqual(['texts sms']);
    expect(await countersign.messages.send({ to: GERMAN, text: 'Hello' })).toMatchObject({ code: 'no-provider' });
  });

  it('goes by e-mail only with an address, which goes to nobody else', async () => {
    const mail = new FakeProvider('mail', { channels: ['email'] });
    const texts = new FakeProvider('texts');
    const providers = [mail, texts];
    const { countersign, clock } = await openBench({ routes: { '*': ['mail', 'texts'] } }, { providers });
    expectStarted(await countersign.verifications.start({ to: NUMBER }));
    expect(handedOver(providers)).toEqual(['texts sms']);
    clock.advance(MINUTE);
    const { id } = expectStarted(
      await countersign.verifications.start({ to: GERMAN, email: 'anna@example.org' }),
    ).verification;
    expect(mail.received[0]).toMatchObject({ channel: 'email', email: 'anna@example.org', to: GERMAN });
    clock.advance(MINUTE);
    expectStarted(await countersign.verifications.resend({ id, channel: 'sms' }));
    expect(texts.received.at(-1)).not.toHaveProperty('email');
    expect(await countersign.verifications.start({ to: '+77012345678', channel: 'email' })).toMatchObject({
      code: 'request-invalid',
      field: 'email',
    });
    for (const email of ['anna', 'a@b, c@d', 'a@b\r\nBcc: c@d', '"a b"@c', 'a@b@c', '@b', `${'a'.repeat(65)}@b`])
      expect(await countersign.verifications.start({ to: '+77012345678', email })).toMatchObject({
        code: 'request-invalid',
        field: 'email',
      });
  });

  it('refuses what nobody could carry before anything is counted or stored', async () => {
    const provider = new FakeProvider('texts', { channels: ['sms'], countries: ['UZ'] });
    const once = [{ max: 1, windowSeconds: 3600 }];
    const { countersign } = await openBench(
      { limits: { perNumber: once, perApp: once, perAddress: once, perPrefix: once, messagesPerNumber: once } },
      { providers: [provider] },
    );
    const refused: StartRequest[] = [
      { to: LANDLINE },
      { to: GERMAN },
      { to: NUMBER, channel: 'voice' },
      { to: NUMBER, email: 'none' },
      { to: NUMBER, platform: 'android', appHash: 'FA+9qCX9VSu' },
    ];
    for (const request of refused)
      expect(await countersign.verifications.start({ ...request, clientIp: '192.0.2.1' })).toMatchObject({
        kind: 'refused',
      });
    expect(await countersign.messages.list()).toEqual({ kind: 'found', messages: [] });
    expectStarted(await countersign.verifications.start({ to: NUMBER, clientIp: '192.0.2.1' }));
  });
});

describe('weights', () => {
  const draws = 600;

  async function firstOf(routes: Routes, ids: readonly string[]) {
    const providers = ids.map((id) => new FakeProvider(id));
    const { countersign } = await openBench(
      { routes, limits: noLimits },
      { providers, parts: { randomBytes: seededBytes(4711) } },
    );
    const orders = Array.from({ length: draws }, () => {
      const explained = countersign.routes.explain({ to: NUMBER });
      return explained.kind === 'explained' ? explained.route.tried.map(({ provider }) => provider) : [];
    });
    return (id: string, place = 0) => orders.filter((order) => order[place] === id).length / draws;
  }

  it('share the messages by themselves', async () => {
    const share = await firstOf(
      {
        '*': [
          { provider: 'a', weight: 70 },
          { provider: 'b', weight: 20 },
          { provider: 'c', weight: 10 },
        ],
      },
      ['a', 'b', 'c'],
    );
    expect(share('a')).toBeCloseTo(0.7, 1);
    expect(share('b')).toBeCloseTo(0.2, 1);
    expect(share('c')).toBeCloseTo(0.1, 1);
    // Of those that are left, by their weights again.
    expect(share('a', 1)).toBeCloseTo(0.2 * (70 / 80) + 0.1 * (70 / 90), 1);
  });

  it('change nothing between groups: who stands before or after them stays there', async () => {
    const share = await firstOf(
      {
        '*': [
          'first',
          { provider: 'a', weight: 1 },
          { provider: 'b', weight: 1 },
          'middle',
          { provider: 'c', weight: 1 },
          { provider: 'd', weight: 1 },
        ],
      },
      ['first', 'a', 'b', 'middle', 'c', 'd'],
    );
    expect([share('first'), share('middle', 3)]).toEqual([1, 1]);
    expect(share('a', 1)).toBeCloseTo(0.5, 1);
    expect(share('a', 1) + share('b', 1)).toBeCloseTo(1);
    expect(share('c', 4) + share('d', 4)).toBeCloseTo(1);
  });

  it('keep two groups apart when the entry between them is not for this number', async () => {
    const share = await firstOf(
      {
        '*': [
          { provider: 'a', weight: 1 },
          { provider: 'landlines', lineTypes: ['fixed-line'] },
          { provider: 'spare', weight: 1000 },
        ],
      },
      ['a', 'landlines', 'spare'],
    );
    // The spare one once took nearly all: with the entry between them gone, they were neighbours.
    expect([share('a'), share('spare', 1)]).toEqual([1, 1]);
  });
});

describe('a resend', () => {
  it('keeps to the channel that the start named, until it names another', async () => {
    const { countersign, clock, fake } = await openBench();
    const { id } = expectStarted(
      await countersign.verifications.start({ to: LANDLINE, channel: 'voice' }),
    ).verification;
    clock.advance(MINUTE);
    // A landline that had been called was told that it takes no messages.
    expect(expectStarted(await countersign.verifications.resend({ id })).verification).toMatchObject({
      channel: 'voice',
      sends: 2,
    });
    expect(fake.received.map(({ channel }) => channel)).toEqual(['voice', 'voice']);
  });

  it('of a start that named none goes by the route anew', async () => {
    const telegram = new FakeProvider('telegram', { channels: ['telegram'] });
    const texts = new FakeProvider('texts', { channels: ['sms'] });
    const providers = [telegram, texts];
    telegram.answer = async () => failed('unavailable', '503');
    const { countersign, clock } = await openBench({ routes: { '*': ['telegram', 'texts'] } }, { providers });
    const { id } = expectStarted(await countersign.verifications.start({ to: NUMBER })).verification;
    clock.advance(MINUTE);
    expectStarted(await countersign.verifications.resend({ id }));
    clock.advance(MINUTE);
    expectStarted(await countersign.verifications.resend({ id, channel: 'sms' }));
    clock.advance(MINUTE);
    expectStarted(await countersign.verifications.resend({ id }));
    expect(handedOver(providers)).toEqual([
      'telegram telegram',
      'telegram telegram',
      ...Array.from({ length: 4 }, () => 'texts sms'),
    ]);
  });
});

describe('a code by e-mail', () => {
  it('proves the number no more when the code is sent to it afterwards: the e-mail may have been read', async () => {
    const mail = new FakeProvider('mail', { channels: ['email'] });
    const texts = new FakeProvider('texts', { channels: ['sms'] });
    const app = { routes: { '*': ['mail', 'texts'] }, limits: noLimits, resendAfterSeconds: [0] };
    const { countersign } = await openBench(app, { providers: [mail, texts] });
    const email = 'mallory@example.org';
    const started = await countersign.verifications.start({ to: NUMBER, email, channel: 'email' });
    const { id } = expectStarted(started).verification;
    expectStarted(await countersign.verifications.resend({ id, channel: 'sms' }));
    const answer = await countersign.verifications.check({ id, code: mail.lastCode });
    if (answer.kind !== 'approved') throw new Error(answer.detail);
    const payload = JSON.parse(Buffer.from(answer.token.split('.')[1] ?? '', 'base64url').toString());
    expect(payload).toMatchObject({ channel: 'sms', phone_number_verified: false });
  });

  it('proves the number no more from the moment of its hand-over: it may be read before its server has answered', async () => {
    const texts = new FakeProvider('texts', { channels: ['sms'] });
    texts.answer = async () => failed('coverage', '1');
    const mail = new FakeProvider('mail', { channels: ['email'] });
    const { countersign } = await openBench({ routes: { '*': ['texts', 'mail'] } }, { providers: [texts, mail] });
    // The token said `true`: it was stored only with the outcome that an e-mail had gone out.
    let token = '';
    mail.answer = async ({ messageId, code = '' }) => {
      const answer = await countersign.verifications.check({ to: NUMBER, code });
      token = answer.kind === 'approved' ? answer.token : '';
      return accepted(messageId);
    };
    expectStarted(await countersign.verifications.start({ to: NUMBER, email: 'mallory@example.org' }));
    const payload = JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString());
    expect(payload).toMatchObject({ phone_number_verified: false });
  });

  it('is no proof that the number is held, and its token is no proof of an earlier approval', async () => {
    const mail = new FakeProvider('mail', { channels: ['email'] });
    const { countersign } = await openBench({ routes: { '*': ['mail'] }, limits: noLimits }, { providers: [mail] });
    const email = 'anna@example.org';
    expectStarted(await countersign.verifications.start({ to: NUMBER, email }));
    const answer = await countersign.verifications.check({ to: NUMBER, code: mail.lastCode });
    if (answer.kind !== 'approved') throw new Error(answer.detail);
    const payload = JSON.parse(Buffer.from(answer.token.split('.')[1] ?? '', 'base64url').toString());
    // It said `true` for a number that nobody had been sent anything to.
    expect(payload).toMatchObject({ channel: 'email', phone_number_verified: false });
    const approvalToken = answer.token;
    expect(await countersign.verifications.start({ to: NUMBER, email, approvalToken })).toMatchObject({
      code: 'token-invalid',
    });
  });
});
