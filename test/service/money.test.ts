import { describe, expect, it } from 'vitest';
import { accepted, type FileConfig, failed } from '../../src/index.ts';
import {
  type Bench,
  DAY,
  expectStarted,
  FakeManaged,
  FakeProvider,
  HOUR,
  MINUTE,
  NUMBER,
  noLimits,
  openBench,
  report,
  routeOf,
  until,
} from './service-bench.ts';

const NEXT_DAY = Date.UTC(2025, 10, 21);

type Prices = NonNullable<FileConfig['prices']>;

/** Providers at these prices in dollars, and an app that may spend so much. */
async function openPriced(
  amounts: Readonly<Record<string, number>>,
  perDay: number,
  app: Parameters<typeof openBench>[0] = {},
  config: FileConfig = {},
) {
  const providers = Object.keys(amounts).map((id) => new FakeProvider(id).withReports());
  const prices: Prices = Object.entries(amounts).map(([provider, amount]) => ({ provider, country: '*', amount }));
  const bench = await openBench(
    {},
    {
      providers,
      config: {
        prices,
        apps: {
          default: {
            country: 'UZ',
            limits: noLimits,
            budget: { perDay },
            routes: { '*': routeOf(...providers) },
            ...app,
          },
        },
        ...config,
      },
    },
  );
  let subject = 0;
  const start = (countersign = bench.countersign) => {
    subject += 1;
    return countersign.verifications.start({ to: NUMBER, subject: String(subject) });
  };
  const [first, second] = providers as [FakeProvider, FakeProvider];
  const warnings = () => bench.log.filter(({ event }) => event === 'budget-warning');
  return { ...bench, start, first, second, warnings };
}

/** How often it is started until it is refused. */
async function startsLeft({ start }: { start: () => ReturnType<Bench['countersign']['verifications']['start']> }) {
  for (let starts = 0; ; starts += 1) {
    const answer = await start();
    if (answer.kind === 'started') continue;
    expect(answer.code).toBe('budget-spent');
    return starts;
  }
}

describe('a budget', () => {
  it('lets exactly as many through as it pays for, of two hundred at once in two processes', async () => {
    const bench = await openPriced({ fake: 0.1 }, 3);
    const other = await bench.again();
    const answers = await Promise.all(
      Array.from({ length: 200 }, (_, index) => bench.start(index % 2 === 0 ? bench.countersign : other)),
    );
    expect(answers.filter(({ kind }) => kind === 'started')).toHaveLength(30);
    expect(bench.first.received).toHaveLength(30);
    expect(answers.find(({ kind }) => kind === 'refused')).toEqual({
      kind: 'refused',
      code: 'budget-spent',
      detail: expect.any(String),
      // It is noon.
      retryAfterMs: 12 * HOUR,
    });
    expect(bench.warnings()).toEqual([
      {
        level: 'warn',
        message: 'the budget of the day is nearly spent',
        event: 'budget-warning',
        app: 'default',
        spent: 2.4,
        max: 3,
        currency: 'USD',
      },
    ]);
  });

  it('is also what resends and custom messages are paid from, and what is refused is not counted', async () => {
    const bench = await openPriced({ fake: 0.1 }, 0.3, {
      limits: { ...noLimits, perNumber: [{ max: 2, windowSeconds: 3600 }] },
    });
    const { countersign, clock } = bench;
    const { id } = expectStarted(await countersign.verifications.start({ to: NUMBER })).verification;
    clock.advance(MINUTE);
    expectStarted(await countersign.verifications.resend({ id }));
    expect(await countersign.messages.send({ to: NUMBER, text: 'Hello' })).toMatchObject({ kind: 'sent' });
    const spent = { code: 'budget-spent' };
    expect(await countersign.verifications.start({ to: '+998901234568' })).toMatchObject(spent);
    expect(await countersign.messages.send({ to: NUMBER, text: 'Hello' })).toMatchObject(spent);
    clock.now = NEXT_DAY;
    for (let time = 0; time < 2; time += 1)
      expectStarted(await countersign.verifications.start({ to: '+998901234568' }));
  });

  it('opens again with the next UTC day, at the very millisecond', async () => {
    const bench = await openPriced({ fake: 1 }, 1);
    expect(await startsLeft(bench)).toBe(1);
    bench.clock.now = NEXT_DAY - 1;
    expect(await bench.start()).toMatchObject({ code: 'budget-spent', retryAfterMs: 1 });
    bench.clock.advance(1);
    expect(await startsLeft(bench)).toBe(1);
  });

  it('gives back what was set aside and not spent: by a cheaper provider, or by none', async () => {
    const cheap = await openPriced({ cheap: 0.1, dear: 1 }, 1.9);
    // 0.1 each, as long as 1.0 can be set aside for the dear one.
    expect(await startsLeft(cheap)).toBe(10);
    const none = await openPriced({ fake: 1 }, 1);
    none.first.answer = async () => failed('content', '30007');
    for (let time = 0; time < 5; time += 1) expect(await none.start()).toMatchObject({ code: 'delivery-failed' });
    none.first.answer = async ({ messageId }) => accepted(messageId);
    expect(await startsLeft(none)).toBe(1);
  });

  it('gives back to the day it took from, also where midnight passes during the hand-over', async () => {
    const bench = await openPriced({ cheap: 0.1, dear: 1 }, 1.1);
    bench.clock.now = NEXT_DAY - 1;
    bench.first.answer = async ({ messageId }) => {
      bench.clock.now = NEXT_DAY;
      return accepted(messageId);
    };
    expectStarted(await bench.start());
    bench.first.answer = async () => failed('content', '');
    bench.second.answer = async ({ messageId }) => accepted(messageId);
    // The new day began with 0.9 in hand that the old one had set aside.
    expect(await startsLeft(bench)).toBe(1);
  });

  it('pays for an uncertain hand-over and for the one after it', async () => {
    const bench = await openPriced({ first: 0.1, second: 0.1 }, 0.4);
    bench.first.answer = async () => failed('uncertain', '500');
    for (let time = 0; time < 2; time += 1) expectStarted(await bench.start());
    expect(await bench.start()).toMatchObject({ code: 'budget-spent' });
  });

  it('that does not pay for a second hand-over stops after the uncertain one', async () => {
    const bench = await openPriced({ first: 0.1, second: 0.1 }, 0.1);
    bench.first.answer = async () => failed('uncertain', '500');
    expect(await bench.start()).toMatchObject({
      code: 'delivery-failed',
      detail: expect.stringContaining('may still'),
    });
    expect([bench.first.received.length, bench.second.received.length]).toEqual([1, 0]);
  });

  it.each([
    [0.2, 1],
    [0.1, 0],
  ])('of %d pays for %i hand-over(s) more when the first was not delivered', async (perDay, sent) => {
    const bench = await openPriced({ first: 0.1, second: 0.1 }, perDay);
    expectStarted(await bench.start());
    const providerMessageId = `first ${bench.first.received[0]?.messageId}`;
    await report(bench.countersign, bench.first, { providerMessageId, state: 'undelivered' });
    const lines = ['not delivered, and the budget of the day is spent', 'sent by another way'];
    await until(() => bench.log.some(({ message }) => lines.includes(message)));
    // It stopped without a word.
    expect(bench.log.filter(({ message }) => lines.includes(message)).map(({ message }) => message)).toEqual([
      lines[sent],
    ]);
    expect(bench.second.received).toHaveLength(sent);
    await bench.countersign.ready();
    expect(await bench.start()).toMatchObject({ code: 'budget-spent' });
  });

  it('warns once, however often what was set aside is given back', async () => {
    const bench = await openPriced({ cheap: 0.1, dear: 1 }, 10);
    // Each of them sets a dollar aside, and so ten in a row went over the mark.
    for (let time = 0; time < 90; time += 1) expectStarted(await bench.start());
    expect(bench.warnings()).toHaveLength(1);
    bench.clock.now = NEXT_DAY;
    for (let time = 0; time < 90; time += 1) expectStarted(await bench.start());
    expect(bench.warnings()).toHaveLength(2);
  });

  it('takes the provider’s own word on a cost, and our price where that is in a currency without a rate', async () => {
    const bench = await openPriced({ fake: 0.1 }, 1);
    const answer = (cost: { micros: number; currency: string }) => async () =>
      accepted(`fake ${bench.first.received.length}`, { cost });
    bench.first.answer = answer({ micros: 450_000, currency: 'USD' });
    expectStarted(await bench.start());
    bench.first.answer = answer({ micros: 430_000, currency: 'EUR' });
    expectStarted(await bench.start());
    expect(await bench.start()).toMatchObject({ code: 'budget-spent' });
    bench.clock.now = NEXT_DAY;
    // Nothing was counted at all, and the budget was none.
    bench.first.answer = answer({ micros: 5, currency: 'XTS' });
    expect(await startsLeft(bench)).toBe(10);
  });

  it('is in the currency it says, and each app has its own', async () => {
    const fake = new FakeProvider('fake');
    const bench = await openBench(
      {},
      {
        providers: [fake],
        config: {
          prices: [{ provider: 'fake', country: 'UZ', amount: 50, currency: 'UZS' }],
          exchangeRates: { UZS: 12_500 },
          apps: {
            taxi: { limits: noLimits, budget: { perDay: 0.02, currency: 'USD' } },
            bank: { limits: noLimits, budget: { perDay: 150, currency: 'UZS' } },
          },
        },
      },
    );
    const start = (app: string) => {
      let subject = 0;
      return () => {
        subject += 1;
        return bench.countersign.verifications.start({ app, to: NUMBER, subject: String(subject) });
      };
    };
    expect(await startsLeft({ start: start('taxi') })).toBe(5);
    expect(await startsLeft({ start: start('bank') })).toBe(3);
  });
});

describe('usage', () => {
  const rowsOf = async ({ countersign }: Bench, request: object = {}) => {
    const answer = await countersign.usage.read({ app: undefined, ...request });
    return answer.kind === 'found' ? answer.rows : answer.code;
  };

  it('says what was sent, delivered, approved and spent, by day, app, provider and country', async () => {
    const bench = await openPriced({ first: 0.1, second: 0.2 }, 100);
    const { countersign, first, second, clock } = bench;
    for (let time = 0; time < 4; time += 1) expectStarted(await bench.start());
    const codes = first.codes;
    await report(countersign, first, {
      providerMessageId: `first ${first.received[0]?.messageId}`,
      state: 'delivered',
    });
    await countersign.verifications.check({ to: NUMBER, subject: '1', code: codes[0] ?? '' });
    first.answer = async () => failed('unavailable', '503');
    expectStarted(await bench.start());
    await countersign.messages.send({ to: NUMBER, text: 'Hello' });
    const usd = (micros: number) => ({ micros, currency: 'USD' });
    const known = { day: '2025-11-20', app: 'default', country: 'UZ' };
    expect(await rowsOf(bench)).toMatchObject([
      {
        ...known,
        provider: 'first',
        sent: 4,
        delivered: 1,
        // What was refused has no price and no row of its own.
        failed: 2,
        approved: 1,
        conversion: 0.25,
        cost: usd(400_000),
        wastedCost: usd(300_000),
      },
      {
        ...known,
        provider: 'second',
        sent: 2,
        delivered: 0,
        failed: 0,
        approved: 0,
        conversion: 0,
        cost: usd(400_000),
        wastedCost: usd(200_000),
      },
    ]);
    expect(second.received).toHaveLength(2);
    clock.advance(DAY);
    await bench.start();
    expect(await rowsOf(bench, { from: '2025-11-21' })).toHaveLength(2);
    expect(await rowsOf(bench, { to: '2025-11-20' })).toHaveLength(2);
    expect(await rowsOf(bench, { app: 'other' })).toEqual([]);
  });

  it('has the fee that is due for an approval, in the currency of the row', async () => {
    const managed = new FakeManaged('managed');
    const bench = await openBench(
      {},
      {
        providers: [managed],
        config: {
          exchangeRates: { UZS: 10_000 },
          prices: [
            { provider: 'managed', country: 'UZ', amount: 100, currency: 'UZS' },
            { provider: 'managed', country: 'UZ', amount: 0.05, per: 'approval' },
          ],
          apps: { default: { limits: noLimits } },
        },
      },
    );
    for (const subject of ['a', 'b']) {
      expectStarted(await bench.countersign.verifications.start({ to: NUMBER, subject }));
      if (subject === 'a') await bench.countersign.verifications.check({ to: NUMBER, subject, code: managed.lastCode });
    }
    // The fee was left out of a row in another currency.
    expect(await rowsOf(bench)).toMatchObject([
      {
        sent: 2,
        approved: 1,
        conversion: 0.5,
        cost: { micros: 700_000_000, currency: 'UZS' },
        wastedCost: { micros: 100_000_000, currency: 'UZS' },
      },
    ]);
  });

  it('wastes nothing below nothing when a cost is known better after the approval', async () => {
    const bench = await openPriced({ fake: 0.1 }, 100);
    expectStarted(await bench.start());
    await bench.countersign.verifications.check({ to: NUMBER, subject: '1', code: bench.first.lastCode });
    await report(bench.countersign, bench.first, {
      providerMessageId: `fake ${bench.first.received[0]?.messageId}`,
      state: 'delivered',
      cost: { micros: 40_000, currency: 'USD' },
    });
    expect(await rowsOf(bench)).toMatchObject([{ cost: { micros: 40_000 }, wastedCost: { micros: 0 } }]);
  });

  it('is read for thirty days, or for those before the last one that is named', async () => {
    const { countersign } = await openBench();
    expect(await countersign.usage.read({ app: undefined })).toMatchObject({ from: '2025-10-22', to: '2025-11-20' });
    // Its first day was after its last one.
    expect(await countersign.usage.read({ app: undefined, to: '2025-03-01' })).toMatchObject({
      kind: 'found',
      from: '2025-01-31',
    });
  });

  it.each([
    { from: '2025-02-30' },
    { to: '2025-13-01' },
    { from: '20251120' },
    { from: '' },
    { to: "2025-11-20' OR 1" },
    { from: '+012025-01-01' },
    { from: '2025-11-20', to: '2025-11-19' },
  ])('is refused for %j', async (range) => {
    const { countersign } = await openBench();
    expect(await countersign.usage.read({ app: undefined, ...range })).toMatchObject({
      kind: 'refused',
      code: 'request-invalid',
      // The one that is at fault, also where the other one follows from it.
      field: Object.keys(range)[0],
    });
  });
});

describe("a provider's word on a cost", () => {
  const strange = [
    ['negative', { micros: -5_000_000, currency: 'USD' }],
    ['endless', { micros: Number.POSITIVE_INFINITY, currency: 'USD' }],
    ['no number', { micros: Number.NaN, currency: 'USD' }],
    ['more than a message can cost', { micros: 9e15, currency: 'USD' }],
    ['in no currency', { micros: 1, currency: 'dollars' }],
  ] as const;

  // It could not be stored, the caller got an error, and the text went out every fifteen seconds; less than nothing made
  // the budget endless.
  it.each(strange)('that is %s is not believed: the price table is', async (_, cost) => {
    const bench = await openPriced({ fake: 0.1 }, 0.2);
    bench.first.answer = async ({ messageId }) => accepted(messageId, { cost });
    expect(await startsLeft(bench)).toBe(2);
    expect(await bench.countersign.usage.read({ app: 'default' })).toMatchObject({
      rows: [{ sent: 2, cost: { micros: 200_000, currency: 'USD' } }],
    });
  });

  it.each(strange)('in a report that is %s leaves the cost as it was, and the state is taken', async (_, cost) => {
    const bench = await openPriced({ fake: 0.1 }, 1);
    expectStarted(await bench.start());
    const providerMessageId = `fake ${bench.first.received[0]?.messageId}`;
    await report(bench.countersign, bench.first, { providerMessageId, state: 'delivered', cost });
    expect(await bench.countersign.usage.read({ app: 'default' })).toMatchObject({
      rows: [{ delivered: 1, cost: { micros: 100_000, currency: 'USD' } }],
    });
  });

  it('is rounded to whole millionths', async () => {
    const bench = await openPriced({ fake: 0.1 }, 1);
    bench.first.answer = async ({ messageId }) => accepted(messageId, { cost: { micros: 7900.4, currency: 'USD' } });
    expectStarted(await bench.start());
    expect(await bench.countersign.usage.read({ app: 'default' })).toMatchObject({
      rows: [{ cost: { micros: 7900, currency: 'USD' } }],
    });
  });
});
