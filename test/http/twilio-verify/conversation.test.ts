import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { wrong } from '../running-server.ts';
import { MINUTE, OTHER, refusalOf, SHOP, startVerify, twilioRefusal, type VerifyBench } from './verify-bench.ts';

const sid = (prefix: string) => expect.stringMatching(new RegExp(`^${prefix}[0-9a-f]{32}$`));
const tooManyChecks = twilioRefusal(429, 60202, 'Max check attempts reached');
const tooManySends = twilioRefusal(429, 60203, 'Max send attempts reached');

let bench: VerifyBench;
let service: string;

beforeAll(async () => {
  bench = await startVerify();
  service = (await bench.client.verify.v2.services.create({ friendlyName: 'Royal Taxi' })).sid;
});
afterAll(() => bench.close());

const verifications = (of = service) => bench.client.verify.v2.services(of).verifications;
const checks = (of = service) => bench.client.verify.v2.services(of).verificationChecks;
const start = (to: string, more: object = {}) => verifications().create({ to, channel: 'sms', ...more });
const notFound = (path: string) => twilioRefusal(404, 20404, `The requested resource ${path} was not found`);

describe('a conversation of the official SDK', () => {
  it('sends a code, takes a wrong one as wrong, and the right one once', async () => {
    const to = '+998901234501';
    const started = await start(to, { locale: 'ru', tags: JSON.stringify({ campaign: 'spring' }) });
    expect(started.toJSON()).toMatchObject({
      sid: sid('VE'),
      serviceSid: service,
      accountSid: SHOP.accountSid,
      to,
      channel: 'sms',
      status: 'pending',
      valid: false,
      lookup: {},
      amount: null,
      payee: null,
      sna: null,
      sendCodeAttempts: [{ time: expect.any(String), channel: 'SMS', attempt_sid: sid('VL') }],
    });
    expect(started.url).toBe(`${bench.origin}/v2/Services/${service}/Verifications/${started.sid}`);
    expect(started.dateCreated.getTime()).toBe(Math.floor(bench.clock.now / 1000) * 1000);
    const code = bench.newestCode(to);
    expect(bench.sent.at(-1)).toMatchObject({ to, text: `Royal Taxi: ваш код ${code}. Действует 10 мин.` });

    const guess = await checks().create({ to, code: wrong(code) });
    expect(guess).toMatchObject({ sid: started.sid, status: 'pending', valid: false });
    const approved = await checks().create({ to, code });
    expect(approved.toJSON()).toMatchObject({
      sid: started.sid,
      serviceSid: service,
      accountSid: SHOP.accountSid,
      to,
      channel: 'sms',
      status: 'approved',
      valid: true,
      amount: null,
      payee: null,
      snaAttemptsErrorCodes: [],
    });
    expect(await refusalOf(checks().create({ to, code }))).toEqual(notFound(`/Services/${service}/VerificationCheck`));
    expect(await refusalOf(verifications()(started.sid).fetch())).toMatchObject({ status: 404, code: 20404 });
  });

  it('keeps one verification for a number, whatever the channel: same sid, same code', async () => {
    const to = '+998901234502';
    const first = await start(to);
    const code = bench.newestCode(to);
    bench.clock.now += 2000;
    const second = await start(to, { channel: 'call' });
    expect(second).toMatchObject({ sid: first.sid, channel: 'call', status: 'pending' });
    expect(second.sendCodeAttempts).toMatchObject([{ channel: 'SMS' }, { channel: 'CALL' }]);
    const third = await start(to, { channel: 'whatsapp' });
    expect(third.sendCodeAttempts).toMatchObject([{ channel: 'SMS' }, { channel: 'CALL' }, { channel: 'whatsapp' }]);
    expect(bench.newestCode(to)).toBe(code);
    expect(bench.sent.at(-1)).toMatchObject({ to, channel: 'whatsapp' });

    expect(await verifications()(to).fetch()).toMatchObject({ sid: first.sid, status: 'pending' });
    expect(await verifications()(first.sid).fetch()).toMatchObject({ to, status: 'pending' });
    expect(await checks().create({ verificationSid: first.sid, code })).toMatchObject({
      status: 'approved',
      valid: true,
    });
  });

  it('refuses the sixth send', async () => {
    const to = '+998901234503';
    for (let send = 1; send <= 5; send += 1) expect((await start(to)).sendCodeAttempts).toHaveLength(send);
    expect(await refusalOf(start(to))).toEqual(tooManySends);
    expect(await checks().create({ to, code: bench.newestCode(to) })).toMatchObject({ status: 'approved' });
    expect(await start(to)).toMatchObject({ status: 'pending' });
  });

  it('refuses the sixth check and a new code until the verification is over', async () => {
    const to = '+998901234504';
    const { sid: verification } = await start(to);
    const code = bench.newestCode(to);
    for (let by = 1; by <= 5; by += 1)
      expect(await checks().create({ to, code: wrong(code, by) })).toMatchObject({ status: 'pending', valid: false });
    expect(await refusalOf(checks().create({ to, code }))).toEqual(tooManyChecks);
    expect(await refusalOf(checks().create({ verificationSid: verification, code }))).toEqual(tooManyChecks);
    expect(await refusalOf(start(to))).toEqual(tooManyChecks);
    expect(await verifications()(to).fetch()).toMatchObject({ status: 'max_attempts_reached', valid: false });
    bench.clock.now += 10 * MINUTE;
    expect(await refusalOf(checks().create({ to, code }))).toMatchObject({ status: 404, code: 20404 });
    expect((await start(to)).sid).not.toBe(verification);
  });

  it('begins anew after a cancel, and takes no other code then', async () => {
    const to = '+998901234505';
    const { sid: first } = await start(to);
    const code = bench.newestCode(to);
    expect(await verifications()(first).update({ status: 'canceled' })).toMatchObject({
      sid: first,
      status: 'canceled',
      valid: false,
    });
    expect(await refusalOf(checks().create({ to, code }))).toMatchObject({ status: 404, code: 20404 });
    expect(await verifications()(first).fetch()).toMatchObject({ status: 'canceled' });
    expect(await refusalOf(verifications()(first).update({ status: 'approved' }))).toEqual(
      notFound(`/Services/${service}/Verifications/${first}`),
    );
    expect((await start(to)).sid).not.toBe(first);
  });

  it('lets a caller with a code of its own check it alone', async () => {
    const to = '+998901234506';
    expect(await refusalOf(start(to, { customCode: '482913' }))).toEqual(
      twilioRefusal(400, 60204, 'Custom codes are not enabled for this service'),
    );
    const own = await bench.client.verify.v2.services.create({ friendlyName: 'Own', customCodeEnabled: true });
    const started = await verifications(own.sid).create({ to, channel: 'sms', customCode: '48291' });
    expect(bench.newestCode(to)).toBe('48291');
    expect(Object.keys(started.toJSON())).not.toContain('code');
    expect(JSON.stringify({ ...started.toJSON(), sid: '', url: '', sendCodeAttempts: [] })).not.toContain('48291');
    expect(await checks(own.sid).create({ to, code: '48292' })).toMatchObject({ status: 'pending' });
    expect(await checks(own.sid).create({ to, code: '48291' })).toMatchObject({ status: 'approved' });

    const second = await verifications(own.sid).create({ to, channel: 'sms', customCode: '7777777777' });
    const done = await verifications(own.sid)(to).update({ status: 'approved' });
    expect(done).toMatchObject({ sid: second.sid, status: 'approved', valid: true });
    expect(await refusalOf(verifications(own.sid)(second.sid).update({ status: 'canceled' }))).toMatchObject({
      status: 404,
      code: 20404,
    });
  });

  it('takes the newest code of a caller that brings another', async () => {
    const to = '+998901234510';
    const own = (await bench.client.verify.v2.services.create({ friendlyName: 'Own', customCodeEnabled: true })).sid;
    const first = await verifications(own).create({ to, channel: 'sms', customCode: '111222' });
    const second = await verifications(own).create({ to, channel: 'sms', customCode: '333444' });
    expect(second.sid).toBe(first.sid);
    expect(bench.newestCode(to)).toBe('333444');
    expect(await checks(own).create({ to, code: '111222' })).toMatchObject({ status: 'pending' });
    expect(await checks(own).create({ to, code: '333444' })).toMatchObject({ status: 'approved' });
  });

  it('leaves the channel to the route when told so', async () => {
    const started = await verifications().create({ to: '+998901234511', channel: 'auto' });
    expect(started).toMatchObject({ channel: 'sms', status: 'pending' });
  });

  it('knows nothing of a code after ten minutes', async () => {
    const to = '+998901234507';
    const { sid: first } = await start(to);
    bench.clock.now += 10 * MINUTE;
    expect(await refusalOf(checks().create({ to, code: bench.newestCode(to) }))).toMatchObject({ code: 20404 });
    expect(await refusalOf(verifications()(first).fetch())).toMatchObject({ code: 20404 });
  });

  it('sends by e-mail', async () => {
    const to = 'Person@Example.com';
    const started = await verifications().create({ to, channel: 'email' });
    expect(started).toMatchObject({ to: 'person@example.com', channel: 'email', status: 'pending' });
    expect(started.sendCodeAttempts).toMatchObject([{ channel: 'EMAIL' }]);
    const code = bench.newestCode('person@example.com');
    expect(await verifications()('person@example.com').fetch()).toMatchObject({ sid: started.sid });
    expect(await checks().create({ to, code })).toMatchObject({ status: 'approved', valid: true });
  });

  it('keeps two accounts apart', async () => {
    const to = '+998901234508';
    const { sid: verification } = await start(to);
    const code = bench.newestCode(to);
    const other = bench.clientOf(OTHER).verify.v2;
    expect(await refusalOf(other.services(service).fetch())).toEqual(notFound(`/Services/${service}`));
    expect(await refusalOf(other.services(service).verificationChecks.create({ to, code }))).toMatchObject({
      code: 20404,
    });
    expect(await refusalOf(other.services(service).verifications(to).fetch())).toMatchObject({ code: 20404 });
    const theirs = (await other.services.create({ friendlyName: 'Theirs' })).sid;
    expect(await refusalOf(other.services(theirs).verifications(verification).fetch())).toMatchObject({ code: 20404 });
    expect(
      await refusalOf(other.services(theirs).verificationChecks.create({ verificationSid: verification, code })),
    ).toMatchObject({ code: 20404 });
    expect(await other.verificationAttempts.list()).toEqual([]);
    expect((await other.services.list()).map((each) => each.sid)).toEqual([theirs]);
    const own = (await bench.client.verify.v2.services.create({ friendlyName: 'Second' })).sid;
    expect(await refusalOf(checks(own).create({ to, code }))).toMatchObject({ code: 20404 });
    expect(await refusalOf(checks(own).create({ verificationSid: verification, code }))).toMatchObject({ code: 20404 });
    expect(await refusalOf(verifications(own)(verification).fetch())).toMatchObject({ code: 20404 });
    expect(await refusalOf(verifications(own)(verification).update({ status: 'canceled' }))).toMatchObject({
      code: 20404,
    });
    const another = { to: '+998901234509', verificationSid: verification, code };
    expect(await refusalOf(checks().create(another))).toMatchObject({ code: 20404 });
    expect(await checks().create({ to, verificationSid: verification, code })).toMatchObject({ status: 'approved' });
  });

  it('turns a wrong token away', async () => {
    const stranger = bench.clientOf({ ...SHOP, authToken: OTHER.authToken });
    expect(await refusalOf(stranger.verify.v2.services(service).fetch())).toEqual(
      twilioRefusal(401, 20003, 'Authenticate'),
    );
    const keyed = bench.clientOf({ ...SHOP, authToken: await bench.keyOf('shop') });
    expect(await keyed.verify.v2.services(service).fetch()).toMatchObject({ sid: service });
    const foreign = bench.clientOf({ ...SHOP, authToken: await bench.keyOf('other') });
    expect(await refusalOf(foreign.verify.v2.services(service).fetch())).toMatchObject({ code: 20003 });
  });
});

describe('services that callers name already', () => {
  const named = `VA${'7'.repeat(32)}`;

  it('are there from the start, with the brand and the code length of the app, and only for it', async () => {
    const own = await startVerify({
      brand: 'Shop 12345',
      codeLength: 8,
      dialect: { dialect: 'twilio-verify', ...SHOP, services: [named] },
    });
    try {
      const found = await own.client.verify.v2.services(named).fetch();
      expect(found).toMatchObject({ sid: named, friendlyName: 'Shop', codeLength: 8 });
      await own.client.verify.v2.services(named).verifications.create({ to: '+998901234599', channel: 'sms' });
      expect(own.newestCode('+998901234599')).toMatch(/^\d{8}$/);
      expect(await refusalOf(own.clientOf(OTHER).verify.v2.services(named).fetch())).toEqual(
        notFound(`/Services/${named}`),
      );
    } finally {
      await own.close();
    }
  });
});
