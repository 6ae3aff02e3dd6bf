import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { failed } from '../../src/provider-kit/define-provider.ts';
import { problem, problemOf } from './http-client.ts';
import { createPhone, type Phone, type RunningServer, startServer, wideLimits, wrong } from './running-server.ts';

const DAY_MS = 86_400_000;
const to = '+998901234567';

let server: RunningServer;
let cheap: Phone;
let dear: Phone;
let key: string;

/** Noon of a day to come: nothing here happens at midnight by chance. */
const noonAfter = (at: number, days = 1) => at - (at % DAY_MS) + days * DAY_MS + DAY_MS / 2;
const dayOf = (at: number) => new Date(at).toISOString().slice(0, 10);

beforeEach(async () => {
  [cheap, dear] = [createPhone('cheap'), createPhone('dear')];
  server = await startServer({
    file: {
      mode: 'production',
      providers: { cheap: cheap.definition, dear: dear.definition },
      prices: [
        { provider: 'cheap', country: 'UZ', amount: 0.004 },
        { provider: 'dear', country: 'UZ', amount: 0.05 },
      ],
      apps: {
        default: { limits: wideLimits, routes: { UZ: ['cheap', 'dear'], '*': ['cheap'] } },
        taxi: { limits: wideLimits, routes: { '*': ['cheap'] } },
        thrifty: { limits: wideLimits, routes: { UZ: ['cheap'] }, budget: { perDay: 0.01, warnAtPercent: 50 } },
        generous: { limits: wideLimits, routes: { UZ: ['cheap'] }, budget: { perDay: 0.02, warnAtPercent: 40 } },
        cautious: { limits: wideLimits, routes: { UZ: ['cheap', 'dear'] }, budget: { perDay: 700, currency: 'UZS' } },
      },
    },
  });
  server.clock.now = noonAfter(server.clock.now);
  key = await server.keyOf();
});
afterEach(() => server.close());

async function start(number = to, as = key) {
  const answer = await server.call('POST', '/v1/verifications', { body: { to: number }, key: as });
  const text = [...cheap.sent, ...dear.sent].findLast((message) => message.to === number)?.text ?? '';
  return { ...answer, id: String(answer.json['id']), code: /(?<!\d)\d{6}(?!\d)/.exec(text)?.[0] ?? '' };
}
const check = (id: string, code: string) =>
  server.call('POST', `/v1/verifications/${id}/check`, { body: { code }, key });
const usage = (query = '', as = key) => server.call('GET', `/v1/usage${query}`, { key: as });

describe('GET /v1/usage', () => {
  it('says what was sent, delivered, approved and spent, by day, provider and country', async () => {
    const [first, second] = [await start('+998901230001'), await start('+998901230002')];
    await start('+998901230003');
    await start('+77012345678');
    expect((await check(first.id, first.code)).status).toBe(200);
    expect((await check(second.id, wrong(second.code))).status).toBe(422);
    const reports = `/v1/reports/cheap/${server.composed.reportSecretOf('cheap')}`;
    const body = { providerMessageId: `cheap-${cheap.sent[0]?.messageId}`, state: 'delivered' };
    expect((await server.call('POST', reports, { body, headers: { 'x-signature': 'good' } })).status).toBe(200);
    const today = dayOf(server.clock.now);
    const answer = await usage();
    expect(answer.status).toBe(200);
    expect(answer.json).toMatchObject({ from: dayOf(server.clock.now - 29 * DAY_MS), to: today });
    const rows = answer.json['usage'] as { country: string }[];
    expect(rows.toSorted((a, b) => (a.country < b.country ? -1 : 1))).toEqual([
      // No price is known there, so nothing is said of money.
      {
        day: today,
        provider: 'cheap',
        country: 'KZ',
        sent: 1,
        codes: 1,
        delivered: 0,
        failed: 0,
        approved: 0,
        conversion: 0,
      },
      {
        day: today,
        provider: 'cheap',
        country: 'UZ',
        sent: 3,
        codes: 3,
        delivered: 1,
        failed: 0,
        approved: 1,
        conversion: 1 / 3,
        cost: { amount: 0.012, currency: 'USD' },
        wasted_cost: { amount: 0.008, currency: 'USD' },
      },
    ]);
  });

  it('counts a text of the caller’s own as sent and paid, and not as a code', async () => {
    expect((await server.call('POST', '/v1/messages', { body: { to, text: 'Hello' }, key })).status).toBe(201);
    expect((await usage()).json['usage']).toEqual([
      expect.objectContaining({
        sent: 1,
        codes: 0,
        cost: { amount: 0.004, currency: 'USD' },
        wasted_cost: { amount: 0, currency: 'USD' },
      }),
    ]);
    expect((await usage()).text).not.toContain('conversion');
  });

  it('says what a failover came to: the refusal at one provider, the cost at the other', async () => {
    cheap.behave(() => failed('unavailable', '503'));
    const { id, code } = await start();
    expect((await check(id, code)).status).toBe(200);
    const rows = (await usage()).json['usage'] as { provider: string }[];
    expect(rows.find(({ provider }) => provider === 'cheap')).toMatchObject({ sent: 0, failed: 1, approved: 0 });
    expect(rows.find(({ provider }) => provider === 'dear')).toMatchObject({
      sent: 1,
      approved: 1,
      conversion: 1,
      cost: { amount: 0.05 },
      wasted_cost: { amount: 0 },
    });
  });

  it('gives the days that are asked for, both included', async () => {
    const days = [dayOf(server.clock.now)];
    await start('+998901230001');
    for (let index = 2; index <= 3; index += 1) {
      server.clock.now += DAY_MS;
      days.push(dayOf(server.clock.now));
      await start(`+99890123000${index}`);
    }
    const [first, second, third] = days as [string, string, string];
    const asked = async (query: string) =>
      ((await usage(query)).json['usage'] as { day: string }[]).map(({ day }) => day).sort();
    expect(await asked('')).toEqual(days);
    expect(await asked(`?from=${second}`)).toEqual([second, third]);
    expect(await asked(`?from=${first}&to=${second}`)).toEqual([first, second]);
    expect(await asked(`?from=${second}&to=${second}`)).toEqual([second]);
    expect(await asked(`?to=${first}`)).toEqual([first]);
    expect(await asked('?from=2020-01-01&to=2020-12-31')).toEqual([]);
    server.clock.now += 29 * DAY_MS;
    expect(await asked('')).toEqual([third]);
  });

  it('counts what happens at midnight for the day on which it happens', async () => {
    const midnight = server.clock.now + DAY_MS / 2;
    server.clock.now = midnight - 1;
    await start('+998901230001');
    server.clock.now = midnight;
    await start('+998901230002');
    const rows = (await usage()).json['usage'] as { day: string; sent: number }[];
    expect(rows.map(({ day, sent }) => [day, sent]).sort()).toEqual([
      [dayOf(midnight - 1), 1],
      [dayOf(midnight), 1],
    ]);
  });

  it.each([
    ['?from=yesterday', 'from'],
    ['?from=2026-02-30', 'from'],
    ['?to=2026-13-01', 'to'],
    ['?to=20261120', 'to'],
    ['?from=', 'from'],
    ['?from=2026-11-20T00:00Z', 'from'],
    ['?from=2026-11-21&to=2026-11-20', 'from'],
    ['?day=2026-11-20', 'day'],
    ['?app=taxi', 'app'],
  ])('refuses %s', async (query, field) => {
    expect(problemOf(await usage(query))).toEqual(problem(400, 'request-invalid', field));
  });

  it('needs a key', async () => {
    expect(problemOf(await server.call('GET', '/v1/usage'))).toEqual(problem(401, 'key-missing'));
  });

  it('13. shows no app what another one sent', async () => {
    const theirs = await server.keyOf('taxi');
    await start('+998901230001');
    expect((await usage('', theirs)).json['usage']).toEqual([]);
    await start('+998901230001', theirs);
    await start('+998901230002', theirs);
    for (const [as, sent] of [
      [key, 1],
      [theirs, 2],
    ] as const) {
      expect((await usage('', as)).json['usage']).toEqual([expect.objectContaining({ provider: 'cheap', sent })]);
    }
  });
});

describe('a budget', () => {
  it('that is spent refuses starts, resends and messages until the UTC day is over, and says when that is', async () => {
    const as = await server.keyOf('thrifty');
    const { id } = await start('+998901230001', as);
    expect((await start('+998901230002', as)).status).toBe(201);
    server.clock.now += 60_000;
    for (const refused of [
      await start('+998901230003', as),
      await server.call('POST', `/v1/verifications/${id}/resend`, { key: as }),
      await server.call('POST', '/v1/messages', { body: { to, text: 'Hello' }, key: as }),
    ]) {
      expect(problemOf(refused)).toEqual(problem(429, 'budget-spent'));
      const untilMidnight = (DAY_MS / 2 - 60_000) / 1000;
      expect([refused.headers['retry-after'], refused.json['retry_after']]).toEqual([
        String(untilMidnight),
        untilMidnight,
      ]);
    }
    expect(cheap.sent).toHaveLength(2);
    // Nobody else pays for it.
    expect((await start('+998901230003')).status).toBe(201);
    server.clock.now += DAY_MS / 2 - 60_000;
    expect((await start('+998901230003', as)).status).toBe(201);
  });

  it('7. does not leak: of twenty starts at once as many are sent as it pays for', async () => {
    const as = await server.keyOf('thrifty');
    const answers = await Promise.all(
      Array.from({ length: 20 }, (_, index) => start(`+9989012301${String(index).padStart(2, '0')}`, as)),
    );
    expect(answers.map(({ status }) => status).sort()).toEqual([201, 201, ...Array(18).fill(429)]);
    expect(cheap.sent).toHaveLength(2);
  });

  it('is counted in its own currency, and keeps room for the dearest way until it is known which one it was', async () => {
    const as = await server.keyOf('cautious');
    // 50 for the one, 625 for the other, at 12500 for a dollar: the second start needs 50 + 625.
    expect((await start('+998901230001', as)).status).toBe(201);
    expect((await start('+998901230002', as)).status).toBe(201);
    expect(problemOf(await start('+998901230003', as))).toEqual(problem(429, 'budget-spent'));
    expect([cheap.sent.length, dear.sent.length]).toEqual([2, 0]);
  });

  it('is not touched by what nobody took', async () => {
    const as = await server.keyOf('thrifty');
    for (let index = 0; index < 4; index += 1) {
      cheap.behave(() => failed('content', 'refused'));
      expect(problemOf(await start(`+99890123000${index}`, as))).toEqual(problem(502, 'delivery-failed'));
    }
    expect((await start('+998901230005', as)).status).toBe(201);
    expect((await start('+998901230006', as)).status).toBe(201);
    expect(problemOf(await start('+998901230007', as))).toEqual(problem(429, 'budget-spent'));
  });

  it('that is nearly spent is a line in the log, once', async () => {
    const as = await server.keyOf('generous');
    const warnings = () =>
      server.logged.filter((line) => line.includes('budget-warning')).map((line) => JSON.parse(line));
    await start('+998901230001', as);
    expect(warnings()).toEqual([]);
    for (let index = 2; index < 5; index += 1) await start(`+99890123000${index}`, as);
    expect(cheap.sent).toHaveLength(4);
    expect(warnings()).toMatchObject([{ level: 'warn', app: 'generous', spent: 0.008, max: 0.02, currency: 'USD' }]);
  });
});
