import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { SendOutcome } from '../../src/domain/provider.ts';
import { failed } from '../../src/provider-kit/define-provider.ts';
import { problem, problemOf } from './http-client.ts';
import { createPhone, type Phone, type RunningServer, startServer, wideLimits } from './running-server.ts';

const mobile = '+998931234567';
const landline = '+998712001234';

let server: RunningServer;
let phones: Record<'first' | 'second' | 'third' | 'other', Phone>;
let key: string;

beforeEach(async () => {
  phones = {
    first: createPhone('first'),
    second: createPhone('second'),
    third: createPhone('third'),
    other: createPhone('other'),
  };
  const { first, second, third, other } = phones;
  server = await startServer({
    file: {
      mode: 'production',
      providers: {
        first: first.definition,
        second: { definition: second.definition, deadlineSeconds: 1.5 },
        third: third.definition,
        other: other.definition,
      },
      prices: [
        { provider: 'first', country: 'UZ', amount: 0.004 },
        { provider: 'second', country: '*', amount: 50, currency: 'UZS' },
      ],
      apps: {
        default: {
          country: 'UZ',
          limits: wideLimits,
          routes: {
            '+99890': ['second'],
            UZ: [
              { provider: 'third', lineTypes: ['fixed-line'], channel: 'voice' },
              'first',
              { provider: 'second', channel: 'sms' },
            ],
            '*': ['first', { provider: 'third', channel: 'voice' }],
          },
          allowedCountries: ['UZ', 'KZ', 'US'],
        },
        taxi: { limits: wideLimits, routes: { '*': ['other'] } },
      },
    },
  });
  key = await server.keyOf();
});
afterEach(() => server.close());

const explain = (body: object, as = key) => server.call('POST', '/v1/routes/explain', { body, key: as });
const start = (to = mobile, more: object = {}) =>
  server.call('POST', '/v1/verifications', { body: { to, ...more }, key });
const providers = async (as = key) => (await server.call('GET', '/v1/providers', { key: as })).json['providers'];
const namesOf = (list: unknown) => (list as { provider: string }[]).map(({ provider }) => provider);

/** Lets a provider fail until its breaker opens: half of its last ten hand-overs. */
async function breakDown(phone: Phone, outcome: SendOutcome, times = 5) {
  for (let time = 0; time < times; time += 1) {
    phone.behave(() => outcome);
    await start(`+9989312300${10 + time}`);
  }
}

describe('POST /v1/routes/explain', () => {
  it('says which providers would be tried, in their order, with price and deadline, and why not the others', async () => {
    const answer = await explain({ to: '93 123 45 67' });
    expect(answer.status).toBe(200);
    expect(answer.json).toEqual({
      to: mobile,
      country: 'UZ',
      line_type: 'mobile',
      locale: 'uz',
      segments: 1,
      route: 'UZ',
      tried: [
        {
          provider: 'first',
          channel: 'sms',
          state: 'closed',
          price: { amount: 0.004, currency: 'USD' },
          deadline_seconds: 3,
        },
        {
          provider: 'second',
          channel: 'sms',
          state: 'closed',
          price: { amount: 50, currency: 'UZS' },
          deadline_seconds: 1.5,
        },
      ],
      passed_by: [
        { provider: 'third', why: 'the number is a mobile number, and the route sends only fixed-line ones there' },
      ],
    });
  });

  it('says nothing of what is not known: no price, no reason, no day', async () => {
    const { json } = await explain({ to: landline });
    expect(json['tried']).toEqual([{ provider: 'third', channel: 'voice', state: 'closed', deadline_seconds: 3 }]);
  });

  it('takes the route of the longest prefix, else of the country, else the one for all others', async () => {
    for (const [to, route, tried, passedBy] of [
      ['+998901234567', '+99890', ['second'], ['third', 'first']],
      [mobile, 'UZ', ['first', 'second'], ['third']],
      ['+77012345678', '*', ['first', 'third'], ['second']],
    ] as const) {
      const { json } = await explain({ to });
      expect([json['route'], namesOf(json['tried']), namesOf(json['passed_by']).sort()]).toEqual([
        route,
        tried,
        [...passedBy].sort(),
      ]);
    }
  });

  it('gives a reason for each provider that is passed by', async () => {
    expect((await explain({ to: landline })).json).toMatchObject({
      line_type: 'fixed-line',
      tried: [{ provider: 'third', channel: 'voice' }],
      passed_by: [
        { provider: 'first', why: 'the number is a fixed-line number, which takes nothing by sms' },
        { provider: 'second', why: 'the number is a fixed-line number, which takes nothing by sms' },
      ],
    });
    expect((await explain({ to: mobile, channel: 'voice' })).json).toMatchObject({
      tried: [{ provider: 'first', channel: 'voice' }],
      passed_by: [{ provider: 'third' }, { provider: 'second', why: 'it does not send by voice' }],
    });
    expect((await explain({ to: mobile, channel: 'email' })).json).toMatchObject({
      tried: [],
      passed_by: [{ provider: 'third' }, { provider: 'first', why: 'it does not send by email' }, {}],
    });
    expect((await explain({ to: '+998901234567' })).json['passed_by']).toContainEqual({
      provider: 'first',
      why: 'the route +99890 does not name it',
    });
  });

  it('says by which language and in how many segments the code would go', async () => {
    expect((await explain({ to: mobile, locale: 'ru' })).json).toMatchObject({ locale: 'ru', segments: 1 });
    expect((await explain({ to: '2125551234', country: 'us' })).json).toMatchObject({ country: 'US', locale: 'en' });
  });

  it('says which provider is out of order, why and until when, and that it would be tried afterwards', async () => {
    await breakDown(phones.first, failed('unavailable', '503'));
    const until = server.clock.now + 10_000;
    const [first] = (await explain({ to: mobile })).json['tried'] as object[];
    expect(first).toMatchObject({
      provider: 'first',
      state: 'open',
      reason: 'unavailable',
      open_until: new Date(until).toISOString(),
    });
    // Only there.
    expect((await explain({ to: '+77012345678' })).json['tried']).toMatchObject([{ state: 'closed' }, {}]);
    server.clock.now = until;
    const [afterwards] = (await explain({ to: mobile })).json['tried'] as object[];
    expect(afterwards).toMatchObject({ provider: 'first', state: 'trial', reason: 'unavailable' });
    expect(afterwards).not.toHaveProperty('open_until');
  });

  it('sends nothing, stores nothing and counts nothing', async () => {
    for (let time = 0; time < 20; time += 1) expect((await explain({ to: mobile })).status).toBe(200);
    expect(Object.values(phones).flatMap(({ sent }) => sent)).toEqual([]);
    expect((await server.call('GET', '/v1/messages', { key })).json['messages']).toEqual([]);
    expect((await server.call('GET', '/v1/usage', { key })).json['usage']).toEqual([]);
  });

  it.each([
    ['a number that is none', { to: '12' }, 400, 'number-invalid', 'to'],
    ['a national number of nowhere', { to: '12', country: 'UZ' }, 400, 'number-invalid', 'to'],
    ['no number', {}, 400, 'request-invalid', 'to'],
    ['a number that is a number', { to: 998931234567 }, 400, 'request-invalid', 'to'],
    ['a channel that does not exist', { to: mobile, channel: 'pigeon' }, 400, 'request-invalid', 'channel'],
    ['a country that is none', { to: mobile, country: 'Uzbekistan' }, 400, 'request-invalid', 'country'],
    ['a field too many', { to: mobile, app: 'taxi' }, 400, 'request-invalid', 'app'],
    ['a look at all providers', { to: mobile, allProviders: true }, 400, 'request-invalid', 'allProviders'],
    ['a country that the app has closed', { to: '+447400123456' }, 403, 'country-not-allowed', 'to'],
  ])('refuses %s', async (_name, body, status, code, field) => {
    expect(problemOf(await explain(body))).toEqual(problem(status, code, field));
  });

  it('needs a key', async () => {
    const answer = await server.call('POST', '/v1/routes/explain', { body: { to: mobile } });
    expect(problemOf(answer)).toEqual(problem(401, 'key-missing'));
  });
});

describe('GET /v1/providers', () => {
  it('lists the providers of the routes, all well to begin with', async () => {
    const closed = (provider: string) => ({ provider, state: 'closed', countries: [] });
    expect(await providers()).toEqual([closed('second'), closed('third'), closed('first')]);
  });

  it('shows an outage in the country where it is, and that it is over', async () => {
    await breakDown(phones.first, failed('unavailable', '503'));
    const down = { provider: 'first', state: 'closed', countries: [expect.objectContaining({ country: 'UZ' })] };
    expect(await providers()).toContainEqual(down);
    const open_until = new Date(server.clock.now + 10_000).toISOString();
    expect(((await providers()) as { countries: object[] }[])[2]?.countries).toEqual([
      { country: 'UZ', state: 'open', reason: 'unavailable', open_until },
    ]);
    server.clock.now += 10_000;
    expect(((await providers()) as { countries: object[] }[])[2]?.countries).toEqual([
      { country: 'UZ', state: 'trial', reason: 'unavailable' },
    ]);
    expect((await start()).status).toBe(201);
    expect(await providers()).toContainEqual({ provider: 'first', state: 'closed', countries: [] });
  });

  it('shows bad credentials everywhere, after a single refusal', async () => {
    await breakDown(phones.first, failed('account', '20003'), 1);
    expect(await providers()).toContainEqual({
      provider: 'first',
      state: 'open',
      reason: 'account',
      open_until: new Date(server.clock.now + 10_000).toISOString(),
      countries: [],
    });
  });

  it('needs a key', async () => {
    expect(problemOf(await server.call('GET', '/v1/providers'))).toEqual(problem(401, 'key-missing'));
  });
});

describe('10. an outage costs a later request no time at all', () => {
  it('hands nothing over to a provider that is out of order, and one message when its time is over', async () => {
    await breakDown(phones.first, failed('unavailable', '503'));
    const before = phones.first.sent.length;
    for (let time = 0; time < 10; time += 1) expect((await start(`+9989312301${10 + time}`)).status).toBe(201);
    expect(phones.first.sent).toHaveLength(before);
    server.clock.now += 10_000;
    phones.first.behave(() => failed('unavailable', '503'));
    expect((await start('+998931230130')).status).toBe(201);
    expect((await start('+998931230131')).status).toBe(201);
    expect(phones.first.sent).toHaveLength(before + 1);
  });

  it('refuses at once, with the time to come back, when every way is out of order; nothing is counted', async () => {
    phones.second.behave(() => failed('account', '20003'));
    const to = '+998901234567';
    expect(problemOf(await start(to))).toEqual(problem(502, 'delivery-failed'));
    const answer = await start(to);
    expect(problemOf(answer)).toEqual(problem(503, 'no-provider'));
    expect([answer.headers['retry-after'], answer.json['retry_after']]).toEqual(['10', 10]);
    expect(phones.second.sent).toHaveLength(1);
    server.clock.now += 10_000;
    expect((await start(to)).status).toBe(201);
    expect(phones.second.sent).toHaveLength(2);
  });
});

describe('13. apps are apart', () => {
  it('shows no app the providers of another one', async () => {
    const theirs = await server.keyOf('taxi');
    const all = async (as: string) =>
      JSON.stringify([
        await providers(as),
        (await explain({ to: mobile }, as)).json,
        (await explain({ to: mobile, channel: 'voice' }, as)).json,
      ]);
    for (const name of ['first', 'second', 'third']) expect(await all(theirs)).not.toContain(`"${name}"`);
    expect(await all(key)).not.toContain('"other"');
    expect(namesOf(await providers(theirs))).toEqual(['other']);
    expect((await explain({ to: mobile }, theirs)).json).toMatchObject({
      tried: [{ provider: 'other' }],
      passed_by: [],
    });
  });
});

describe('countersign_provider_out_of_order', () => {
  const gauge = async () =>
    (await server.call('GET', '/metrics')).text
      .split('\n')
      .filter((line) => line.startsWith('countersign_provider_out_of_order'))
      .map((line) => line.replace('countersign_provider_out_of_order', ''))
      .sort();

  it('is 0 for each provider that is well, and 1 where one is out of order, as long as it is', async () => {
    const well = ['first', 'other', 'second', 'third'].map((name) => `{provider="${name}",country=""} 0`);
    expect(await gauge()).toEqual(well);
    await breakDown(phones.first, failed('unavailable', '503'));
    const inUzbekistan = '{provider="first",country="UZ"} 1';
    expect(await gauge()).toEqual([...well, inUzbekistan].sort());
    await breakDown(phones.second, failed('account', '20003'), 1);
    const secondIsOut = well.map((line) => line.replace('"second",country=""} 0', '"second",country=""} 1'));
    expect(await gauge()).toEqual([...secondIsOut, inUzbekistan].sort());
    server.clock.now += 10_000;
    // The time is over, and nothing has shown yet that it is well.
    expect(await gauge()).toEqual([...secondIsOut, inUzbekistan].sort());
    expect((await start()).status).toBe(201);
    expect((await start('+998901234567')).status).toBe(201);
    expect(await gauge()).toEqual(well);
  });
});
