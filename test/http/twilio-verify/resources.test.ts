import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { wrong } from '../running-server.ts';
import { MINUTE, refusalOf, SHOP, startVerify, twilioRefusal, type VerifyBench } from './verify-bench.ts';

let bench: VerifyBench;
const api = () => bench.client.verify.v2;
const newService = async (more: object = {}) => (await api().services.create({ friendlyName: 'Shop', ...more })).sid;

beforeAll(async () => {
  bench = await startVerify();
});
afterAll(() => bench.close());

describe('services', () => {
  it('are answered with every key that Twilio has', async () => {
    const answer = await bench.raw('POST', '/v2/Services', { form: { FriendlyName: 'Royal Taxi', CodeLength: '4' } });
    const { sid } = answer.json;
    const url = `${bench.origin}/v2/Services/${sid}`;
    expect(answer.status).toBe(201);
    expect(answer.json).toEqual({
      sid: expect.stringMatching(/^VA[0-9a-f]{32}$/),
      account_sid: SHOP.accountSid,
      friendly_name: 'Royal Taxi',
      code_length: 4,
      lookup_enabled: false,
      psd2_enabled: false,
      skip_sms_to_landlines: false,
      dtmf_input_required: false,
      tts_name: null,
      do_not_share_warning_enabled: false,
      custom_code_enabled: false,
      push: { include_date: false, apn_credential_sid: null, fcm_credential_sid: null },
      totp: { issuer: 'Royal Taxi', time_step: 30, code_length: 6, skew: 1 },
      whatsapp: { msg_service_sid: null, from: null },
      passkeys: {
        relying_party: { id: null, name: null, origins: null },
        authenticator_attachment: null,
        discoverable_credentials: null,
        user_verification: null,
      },
      default_template_sid: null,
      verify_event_subscription_enabled: false,
      date_created: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/),
      date_updated: expect.stringMatching(/Z$/),
      url,
      links: {
        verification_checks: `${url}/VerificationCheck`,
        verifications: `${url}/Verifications`,
        rate_limits: `${url}/RateLimits`,
        messaging_configurations: `${url}/MessagingConfigurations`,
        entities: `${url}/Entities`,
        webhooks: `${url}/Webhooks`,
        access_tokens: `${url}/AccessTokens`,
      },
    });
  });

  it('change in what is named, and change what their codes look like', async () => {
    const sid = await newService({ ttsName: 'Shop', codeLength: 8 });
    const to = '+998901235001';
    await api().services(sid).verifications.create({ to, channel: 'sms' });
    expect(bench.newestCode(to)).toMatch(/^\d{8}$/);
    bench.clock.now += 5000;
    const changed = await api().services(sid).update({ codeLength: 5, friendlyName: 'Bazaar' });
    expect(changed).toMatchObject({ codeLength: 5, friendlyName: 'Bazaar', ttsName: 'Shop' });
    expect(changed.dateUpdated.getTime()).toBeGreaterThan(changed.dateCreated.getTime());
    await api().services(sid).verifications.create({ to: '+998901235002', channel: 'sms', locale: 'en' });
    const code = bench.newestCode('+998901235002');
    expect(code).toMatch(/^\d{5}$/);
    expect(bench.sent.at(-1)?.text).toBe(`Bazaar: your code is ${code}. Valid for 10 min.`);
    await api().services(sid).verifications.create({ to: '+998901235003', channel: 'sms', customFriendlyName: 'Mini' });
    expect(bench.sent.at(-1)?.text).toMatch(/^Mini: /);
  });

  it('take their verifications with them', async () => {
    const sid = await newService();
    const to = '+998901235004';
    const started = await api().services(sid).verifications.create({ to, channel: 'sms' });
    const limit = await api().services(sid).rateLimits.create({ uniqueName: 'by.user' });
    expect(await api().services(sid).remove()).toBe(true);
    for (const call of [
      () => api().services(sid).fetch(),
      () => api().services(sid).remove(),
      () => api().services(sid).verifications(started.sid).fetch(),
      () =>
        api()
          .services(sid)
          .verificationChecks.create({ to, code: bench.newestCode(to) }),
      () => api().services(sid).verifications.create({ to, channel: 'sms' }),
      () => api().services(sid).rateLimits(limit.sid).fetch(),
    ])
      expect(await refusalOf(call())).toMatchObject({ status: 404, code: 20404 });
  });

  it.each([
    [{}, 'FriendlyName'],
    [{ FriendlyName: 'Shop 12345' }, 'FriendlyName'],
    [{ FriendlyName: 'x'.repeat(33) }, 'FriendlyName'],
    [{ FriendlyName: 'two\nlines' }, 'FriendlyName'],
    [{ FriendlyName: 'Shop', CodeLength: '3' }, 'CodeLength'],
    [{ FriendlyName: 'Shop', CodeLength: '11' }, 'CodeLength'],
    [{ FriendlyName: 'Shop', CodeLength: '4.5' }, 'CodeLength'],
    [{ FriendlyName: 'Shop', CustomCodeEnabled: 'yes' }, 'CustomCodeEnabled'],
    [{ FriendlyName: 'Shop', Psd2Enabled: 'true' }, 'Psd2Enabled'],
    [{ FriendlyName: 'Shop', LookupEnabled: 'true' }, 'LookupEnabled'],
    [{ FriendlyName: 'Shop', DtmfInputRequired: 'true' }, 'DtmfInputRequired'],
    [{ FriendlyName: 'Shop', VerifyEventSubscriptionEnabled: 'true' }, 'VerifyEventSubscriptionEnabled'],
    [{ FriendlyName: 'Shop', 'Push.IncludeDate': 'true' }, 'Push.IncludeDate'],
    [{ FriendlyName: 'Shop', 'Totp.Issuer': 'Shop' }, 'Totp.Issuer'],
    [{ FriendlyName: 'Shop', 'Whatsapp.From': '+998901234567' }, 'Whatsapp.From'],
  ])('are not made of %j', async (form, parameter) => {
    const { status, json } = await bench.raw('POST', '/v2/Services', { form: form as Record<string, string> });
    expect({ status, code: json['code'] }).toEqual({ status: 400, code: 60200 });
    expect(json['message']).toMatch(`Invalid parameter \`${parameter}\`: `);
  });

  it('may say of everything that is not here that they do without', async () => {
    const form = { FriendlyName: 'Shop', Psd2Enabled: 'false', LookupEnabled: 'false', DtmfInputRequired: 'false' };
    expect(await bench.raw('POST', '/v2/Services', { form })).toMatchObject({ status: 201 });
  });
});

describe('lists', () => {
  it('are walked in pages, onwards and back', async () => {
    const service = await newService();
    const names = Array.from({ length: 7 }, (_, index) => `limit-${index}`);
    for (const uniqueName of names) await api().services(service).rateLimits.create({ uniqueName });
    const listed = await api().services(service).rateLimits.list({ pageSize: 3 });
    expect(listed.map((each) => each.uniqueName)).toEqual(names);
    expect(await api().services(service).rateLimits.list({ limit: 5 })).toHaveLength(5);
    const seen: string[] = [];
    await new Promise<void>((resolve, reject) =>
      api()
        .services(service)
        .rateLimits.each({
          pageSize: 2,
          callback: ({ uniqueName }) => void seen.push(uniqueName),
          done: (error?: Error) => (error === undefined ? resolve() : reject(error)),
        }),
    );
    expect(seen).toEqual(names);

    const first = await api().services(service).rateLimits.page({ pageSize: 3 });
    const second = await first.nextPage();
    const third = await second?.nextPage();
    expect(third?.instances.map((each) => each.uniqueName)).toEqual(['limit-6']);
    expect(third?.nextPage()).toBeUndefined();
    const back = await third?.previousPage();
    expect(back?.instances.map((each) => each.uniqueName)).toEqual(['limit-3', 'limit-4', 'limit-5']);
    expect(first.previousPage()).toBeUndefined();
  });

  it('say where they are as Twilio does', async () => {
    const service = await newService();
    for (const uniqueName of ['a', 'b', 'c']) await api().services(service).rateLimits.create({ uniqueName });
    const path = `/v2/Services/${service}/RateLimits`;
    const at = (page: number) => `${bench.origin}${path}?PageSize=1&Page=${page}`;
    const { json } = await bench.raw('GET', `${path}?PageSize=1&Page=1`);
    expect(json).toEqual({
      rate_limits: [expect.objectContaining({ unique_name: 'b' })],
      meta: {
        key: 'rate_limits',
        page: 1,
        page_size: 1,
        first_page_url: at(0),
        previous_page_url: at(0),
        url: at(1),
        next_page_url: at(2),
      },
    });
    expect((await bench.raw('GET', `${path}?PageSize=3`)).json['meta']).toMatchObject({ next_page_url: null });
    const whole = await bench.raw('GET', path);
    expect(whole.json['meta']).toEqual({
      key: 'rate_limits',
      page: 0,
      page_size: 50,
      first_page_url: `${bench.origin}${path}?PageSize=50&Page=0`,
      previous_page_url: null,
      url: `${bench.origin}${path}?PageSize=50&Page=0`,
      next_page_url: null,
    });
  });

  it.each([
    ['PageSize=1001', 20007],
    ['PageSize=0', 60200],
    ['PageSize=-1', 60200],
    ['PageSize=ten', 60200],
    ['Page=-1', 60200],
  ])('take no %s', async (query, code) => {
    expect((await bench.raw('GET', `/v2/Services?${query}`)).json).toMatchObject({ status: 400, code });
  });
});

describe('rate limits', () => {
  it('stop a value that comes too often, and no other, and say which one it was', async () => {
    const service = await newService();
    const limit = await api()
      .services(service)
      .rateLimits.create({ uniqueName: 'end_user_ip', description: 'by address' });
    expect(limit).toMatchObject({ uniqueName: 'end_user_ip', description: 'by address', serviceSid: service });
    const bucket = await api().services(service).rateLimits(limit.sid).buckets.create({ max: 2, interval: 60 });
    expect(bucket).toMatchObject({ max: 2, interval: 60, rateLimitSid: limit.sid, serviceSid: service });
    const start = (to: string, limits: object) =>
      bench.raw('POST', `/v2/Services/${service}/Verifications`, {
        form: { To: to, Channel: 'sms', RateLimits: JSON.stringify(limits) },
      });
    const one = { end_user_ip: '203.0.113.1', unknown: 'let be' };
    expect((await start('+998901235101', one)).status).toBe(201);
    bench.clock.now += 20_000;
    expect((await start('+998901235102', one)).status).toBe(201);
    const sentBefore = bench.sent.length;
    const refused = await start('+998901235103', one);
    expect(refused).toMatchObject({
      status: 429,
      headers: { 'retry-after': '40', 'twilio-reached-rate-limit': 'end_user_ip' },
      json: {
        code: 20429,
        message: 'Too many requests',
        more_info: 'https://www.twilio.com/docs/errors/20429',
        status: 429,
      },
    });
    expect(bench.sent.length).toBe(sentBefore);
    expect((await start('+998901235103', { end_user_ip: '203.0.113.2' })).status).toBe(201);
    expect((await start('+998901235104', {})).status).toBe(201);
    bench.clock.now += 40_000;
    expect((await start('+998901235105', one)).status).toBe(201);
  });

  it('hold at 200 requests at once', async () => {
    const service = await newService();
    const { sid } = await api().services(service).rateLimits.create({ uniqueName: 'user' });
    await api().services(service).rateLimits(sid).buckets.create({ max: 7, interval: 3600 });
    const answers = await Promise.all(
      Array.from({ length: 200 }, (_, index) =>
        bench.raw('POST', `/v2/Services/${service}/Verifications`, {
          form: { To: `+99890${2_000_000 + index}`, Channel: 'sms', RateLimits: '{"user":"u-1"}' },
        }),
      ),
    );
    expect(answers.filter(({ status }) => status === 201)).toHaveLength(7);
    expect(answers.filter(({ json }) => json['code'] === 20429)).toHaveLength(193);
  });

  it('have one name and one interval each, and not too many', async () => {
    const service = await newService();
    const { sid } = await api().services(service).rateLimits.create({ uniqueName: 'one' });
    const limits = api().services(service).rateLimits;
    expect(await refusalOf(limits.create({ uniqueName: 'one' }))).toMatchObject({ status: 400, code: 60208 });
    expect(await refusalOf(limits.create({ uniqueName: 'by user' }))).toMatchObject({ status: 400, code: 60209 });
    for (let index = 1; index < 10; index += 1) await limits.create({ uniqueName: `limit-${index}` });
    expect(await refusalOf(limits.create({ uniqueName: 'eleventh' }))).toMatchObject({ status: 400, code: 60207 });
    const { buckets } = limits(sid);
    for (let interval = 1; interval <= 5; interval += 1) await buckets.create({ max: 1, interval });
    expect(await refusalOf(buckets.create({ max: 1, interval: 3 }))).toMatchObject({ status: 400 });
    expect(await refusalOf(buckets.create({ max: 1, interval: 9 }))).toMatchObject({ status: 400, code: 60210 });
    const [first, second] = await buckets.list();
    expect(await refusalOf(buckets(first?.sid ?? '').update({ interval: 2 }))).toMatchObject({ code: 60211 });
    expect(await buckets(first?.sid ?? '').update({ max: 9 })).toMatchObject({ max: 9, interval: 1 });
    expect(await buckets(second?.sid ?? '').remove()).toBe(true);
    expect(await refusalOf(buckets(second?.sid ?? '').fetch())).toMatchObject({ code: 20404 });
    expect(await buckets.list()).toHaveLength(4);
    expect(await limits(sid).update({ description: 'for one' })).toMatchObject({
      description: 'for one',
      uniqueName: 'one',
    });
    expect(
      await refusalOf(
        api()
          .services(await newService())
          .rateLimits(sid)
          .fetch(),
      ),
    ).toMatchObject({ code: 20404 });
    expect(await limits(sid).remove()).toBe(true);
    expect(await refusalOf(limits(sid).buckets.list())).toMatchObject({ code: 20404 });
  });

  it.each([
    { Max: '0', Interval: '60' },
    { Max: '1', Interval: '0' },
    { Max: '1' },
    { Interval: '60' },
    { Max: 'x', Interval: '1' },
  ])('have no bucket of %j', async (form) => {
    const service = await newService();
    const { sid } = await api().services(service).rateLimits.create({ uniqueName: 'one' });
    const path = `/v2/Services/${service}/RateLimits/${sid}/Buckets`;
    expect((await bench.raw('POST', path, { form: form as Record<string, string> })).json).toMatchObject({
      code: 60200,
    });
  });
});

describe('messaging configurations', () => {
  it('are kept, one for each country', async () => {
    const service = await newService();
    const messagingServiceSid = `MG${'a'.repeat(32)}`;
    const { messagingConfigurations } = api().services(service);
    expect(await messagingConfigurations.create({ country: 'UZ', messagingServiceSid })).toMatchObject({
      accountSid: SHOP.accountSid,
      serviceSid: service,
      country: 'UZ',
      messagingServiceSid,
    });
    expect(await refusalOf(messagingConfigurations.create({ country: 'uz', messagingServiceSid }))).toMatchObject({
      code: 60213,
    });
    expect(await messagingConfigurations.create({ country: 'all', messagingServiceSid })).toMatchObject({
      country: 'all',
    });
    expect(await refusalOf(messagingConfigurations.create({ country: 'Uz1', messagingServiceSid }))).toMatchObject({
      code: 60200,
    });
    expect(
      await refusalOf(messagingConfigurations.create({ country: 'KZ', messagingServiceSid: 'MG1' })),
    ).toMatchObject({ code: 60200 });
    const changed = `MG${'b'.repeat(32)}`;
    expect(await messagingConfigurations('UZ').update({ messagingServiceSid: changed })).toMatchObject({
      messagingServiceSid: changed,
    });
    expect((await messagingConfigurations.list()).map((each) => each.country)).toEqual(['UZ', 'all']);
    expect(await messagingConfigurations('UZ').remove()).toBe(true);
    expect(await refusalOf(messagingConfigurations('UZ').fetch())).toMatchObject({ code: 20404 });
    expect(await messagingConfigurations('all').fetch()).toMatchObject({ messagingServiceSid });
  });
});

describe('the safe list', () => {
  it('lets its numbers pass the limit of their block', async () => {
    const guarded = await startVerify({
      limits: {
        perNumber: [{ max: 100, windowSeconds: 60 }],
        perAddress: [{ max: 100, windowSeconds: 60 }],
        perPrefix: [{ max: 2, windowSeconds: 3600 }],
        perApp: [{ max: 1000, windowSeconds: 60 }],
      },
    });
    try {
      const { v2 } = guarded.client.verify;
      const { sid } = await v2.services.create({ friendlyName: 'Shop' });
      const start = (to: string) => v2.services(sid).verifications.create({ to, channel: 'sms' });
      const safe = '+998901235299';
      const added = await v2.safelist.create({ phoneNumber: '+998 90 123-52-99' });
      expect(added).toMatchObject({ sid: expect.stringMatching(/^GN[0-9a-f]{32}$/), phoneNumber: safe });
      expect(await v2.safelist.create({ phoneNumber: safe })).toMatchObject({ sid: added.sid });
      await start('+998901235201');
      await start('+998901235202');
      expect(await refusalOf(start('+998901235203'))).toMatchObject({ status: 429, code: 20429 });
      expect(await start(safe)).toMatchObject({ status: 'pending' });
      expect(await v2.safelist(safe).fetch()).toMatchObject({ sid: added.sid, phoneNumber: safe });
      expect(await v2.safelist(safe).remove()).toBe(true);
      expect(await refusalOf(v2.safelist(safe).fetch())).toMatchObject({ status: 404, code: 20404 });
      expect(await refusalOf(start(safe))).toMatchObject({ status: 429, code: 20429 });
      expect(await refusalOf(v2.safelist.create({ phoneNumber: '12' }))).toMatchObject({ code: 60200 });
    } finally {
      await guarded.close();
    }
  });
});

describe('templates', () => {
  it('are the texts of the app, by language', async () => {
    const [template, ...others] = await api().templates.list();
    expect(others).toEqual([]);
    expect(template).toMatchObject({
      sid: expect.stringMatching(/^HJ[0-9a-f]{32}$/),
      accountSid: SHOP.accountSid,
      friendlyName: 'Shop',
      channels: ['sms', 'call', 'whatsapp', 'email'],
    });
    expect(template?.translations).toMatchObject({
      en: {
        is_default_translation: true,
        status: 'approved',
        locale: 'en',
        text: '{{friendly_name}}: your code is {{code}}. Valid for {{ttl}} min.',
      },
      uz: { locale: 'uz', is_default_translation: false },
    });
    const sid = template?.sid ?? '';
    const service = await newService({ defaultTemplateSid: sid });
    const started = await api().services(service).verifications.create({
      to: '+998901235301',
      channel: 'sms',
      templateSid: sid,
      templateCustomSubstitutions: '{}',
    });
    expect(started.status).toBe('pending');
    const unknown = `HJ${'0'.repeat(32)}`;
    expect(await refusalOf(newService({ defaultTemplateSid: unknown }))).toMatchObject({ code: 60228 });
    expect(
      await refusalOf(
        api().services(service).verifications.create({ to: '+998901235302', channel: 'sms', templateSid: unknown }),
      ),
    ).toMatchObject({ code: 60228 });
    expect(await api().templates.list({ friendlyName: 'Nobody' })).toEqual([]);
  });
});

describe('attempts', () => {
  it('show every send with what became of it, newest first, and add it up', async () => {
    const bench = await startVerify();
    try {
      const { v2 } = bench.client.verify;
      const service = (await v2.services.create({ friendlyName: 'Shop' })).sid;
      const second = (await v2.services.create({ friendlyName: 'Second' })).sid;
      const send = async (to: string, channel = 'sms', of = service) => {
        bench.clock.now += MINUTE;
        return v2.services(of).verifications.create({ to, channel });
      };
      const uz = '+998901235401';
      const ru = '+79161234567';
      const first = await send(uz);
      await send(uz, 'call');
      await v2.services(service).verificationChecks.create({ to: uz, code: bench.newestCode(uz) });
      const between = new Date(bench.clock.now + 1000);
      await send(ru);
      await v2.services(service).verificationChecks.create({ to: ru, code: wrong(bench.newestCode(ru)) });
      await send('+998901235402', 'sms', second);
      await bench.composed.countersign.verifications.start({ app: 'shop', to: uz, channel: 'sms' });
      await bench.composed.countersign.messages.send({ app: 'shop', to: uz, text: 'no code' });

      const all = await v2.verificationAttempts.list();
      expect(all.map(({ channel, conversionStatus }) => [channel, conversionStatus])).toEqual([
        ['sms', 'unconverted'],
        ['sms', 'unconverted'],
        ['call', 'converted'],
        ['sms', 'unconverted'],
      ]);
      const oldest = all.at(-1);
      expect(oldest?.sid).toBe((first.sendCodeAttempts[0] as { attempt_sid: string }).attempt_sid);
      const { json } = await bench.raw('GET', `/v2/Attempts/${oldest?.sid}`);
      expect(json).toEqual({
        sid: oldest?.sid,
        account_sid: SHOP.accountSid,
        service_sid: service,
        verification_sid: first.sid,
        date_created: expect.stringMatching(/Z$/),
        date_updated: expect.stringMatching(/Z$/),
        conversion_status: 'unconverted',
        channel: 'sms',
        price: { value: null, currency: null },
        channel_data: {
          verification_sid: first.sid,
          to: uz,
          status: 'unconfirmed',
          message_status: expect.stringMatching(/^(queued|sent)$/),
          error_code: null,
          country: 'UZ',
          code_length: '6',
          locale: 'uz',
          mcc: null,
          mnc: null,
          carrier: null,
        },
        url: `${bench.origin}/v2/Attempts/${oldest?.sid}`,
      });

      const sids = async (query: Parameters<typeof v2.verificationAttempts.list>[0]) =>
        (await v2.verificationAttempts.list(query)).map((each) => each.sid);
      const [d, c, b, a] = all.map((each) => each.sid);
      expect(await sids({ 'channelData.to': uz })).toEqual([b, a]);
      expect(await sids({ country: 'RU' })).toEqual([c]);
      expect(await sids({ channel: 'call' })).toEqual([b]);
      expect(await sids({ status: 'converted' })).toEqual([b]);
      expect(await sids({ status: 'unconverted' })).toEqual([d, c, a]);
      expect(await sids({ verifyServiceSid: second })).toEqual([d]);
      expect(await sids({ verificationSid: first.sid })).toEqual([b, a]);
      expect(await sids({ verificationSid: `VE${'0'.repeat(32)}` })).toEqual([]);
      expect(await sids({ dateCreatedAfter: between })).toEqual([d, c]);
      expect(await sids({ dateCreatedBefore: between })).toEqual([b, a]);
      expect(await sids({ pageSize: 1 })).toEqual([d, c, b, a]);
      expect(await sids({ pageSize: 2, verifyServiceSid: service })).toEqual([c, b, a]);
      expect(await sids({ pageSize: 1, status: 'unconverted' })).toEqual([d, c, a]);
      expect(await sids({ limit: 2 })).toEqual([d, c]);

      const summary = (query: object = {}) => v2.verificationAttemptsSummary().fetch(query);
      expect(await summary()).toMatchObject({
        totalAttempts: 4,
        totalConverted: 1,
        totalUnconverted: 3,
        conversionRatePercentage: '25',
        url: `${bench.origin}/v2/Attempts/Summary`,
      });
      expect((await bench.raw('GET', '/v2/Attempts/Summary?DestinationPrefix=998')).json).toMatchObject({
        total_attempts: 3,
        conversion_rate_percentage: '33.333333333',
      });
      expect(await summary({ country: 'RU' })).toMatchObject({ totalAttempts: 1, conversionRatePercentage: '0' });

      bench.clock.now += 10 * MINUTE;
      const [expired] = await v2.verificationAttempts.list({ country: 'RU' });
      expect(expired?.channelData).toMatchObject({ status: 'expired' });
      for (const query of ['Status=maybe', 'DateCreatedAfter=yesterday', 'Channel=pigeon', 'PageToken=x'])
        expect((await bench.raw('GET', `/v2/Attempts?${query}`)).json, query).toMatchObject({
          status: 400,
          code: 60200,
        });
      expect((await bench.raw('GET', `/v2/Attempts/VL${'0'.repeat(32)}`)).json).toMatchObject({ code: 20404 });
    } finally {
      await bench.close();
    }
  });
});

describe('attempts of one moment', () => {
  it('are all there, whatever the page', async () => {
    const bench = await startVerify();
    try {
      const { v2 } = bench.client.verify;
      const { sid } = await v2.services.create({ friendlyName: 'Shop' });
      for (let index = 0; index < 5; index += 1) {
        await v2.services(sid).verifications.create({ to: `+99890123560${index}`, channel: 'sms' });
        await v2.services(sid).verifications.create({ to: `+7916123456${index}`, channel: 'sms' });
      }
      for (const pageSize of [1, 2, 3, 1000]) {
        expect(await v2.verificationAttempts.list({ pageSize }), `${pageSize}`).toHaveLength(10);
        expect(await v2.verificationAttempts.list({ pageSize, country: 'UZ' }), `${pageSize}`).toHaveLength(5);
      }
    } finally {
      await bench.close();
    }
  });
});

describe('what a code costs', () => {
  it('is in its attempt, and stops the next one when the day may cost no more', async () => {
    const price = { provider: 'handset', country: '*', channel: 'sms' as const, per: 'segment' as const };
    const bench = await startVerify(
      { budget: { perDay: 0.08, currency: 'USD' } },
      { prices: [{ ...price, amount: 0.05, currency: 'USD', source: 'contract' }] },
    );
    try {
      const { v2 } = bench.client.verify;
      const { sid } = await v2.services.create({ friendlyName: 'Shop' });
      await v2.services(sid).verifications.create({ to: '+998901235501', channel: 'sms', locale: 'en' });
      const [attempt] = await v2.verificationAttempts.list();
      expect(attempt?.price).toEqual({ value: '0.05', currency: 'usd' });
      const second = v2.services(sid).verifications.create({ to: '+998901235502', channel: 'sms', locale: 'en' });
      expect(await refusalOf(second)).toMatchObject({ status: 429, code: 20429, message: 'Too many requests' });
    } finally {
      await bench.close();
    }
  });
});

describe('what a refusal says', () => {
  it('is the same to every part of a caller', async () => {
    const service = await newService();
    expect(await refusalOf(api().services(service).rateLimits('RK0').fetch())).toEqual(
      twilioRefusal(404, 20404, `The requested resource /Services/${service}/RateLimits/RK0 was not found`),
    );
  });
});
