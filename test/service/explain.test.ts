import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { describe, expect, it } from 'vitest';
import { failed } from '../../src/index.ts';
import { expectStarted, FakeManaged, FakeProvider, NUMBER, noLimits, openBench } from './service-bench.ts';

async function openExplained(probe?: FakeProvider['probe']) {
  const providers = [
    new FakeProvider('local', { countries: ['UZ'], deadlineSeconds: 1.5 }),
    new FakeProvider('calls', { channels: ['voice'] }),
    new FakeManaged('managed'),
    new FakeProvider('mail', { channels: ['email'] }),
    new FakeProvider('german', { countries: ['DE'] }),
    new FakeProvider('spare'),
    new FakeProvider('of-bank'),
  ];
  for (const provider of providers) provider.probe = probe;
  const bench = await openBench(
    {},
    {
      providers,
      config: {
        prices: [
          { provider: 'local', country: 'UZ', amount: 50, currency: 'UZS' },
          { provider: 'managed', country: '*', amount: 0.05 },
        ],
        apps: {
          default: {
            country: 'UZ',
            limits: noLimits,
            texts: { uz: `{code} ${'x'.repeat(160)}` },
            allowedCountries: ['UZ', 'DE'],
            routes: {
              UZ: ['local', 'calls', 'managed', 'mail', 'german', { provider: 'spare', lineTypes: ['fixed-line'] }],
              '*': ['spare'],
            },
          },
          bank: { routes: { '*': ['of-bank'] } },
        },
      },
    },
  );
  return { ...bench, providers };
}

describe('an explanation of a route', () => {
  it('says who would be tried, in order, at what price, and why not the others', async () => {
    const { countersign } = await openExplained();
    const well = (provider: string) => ({
      provider,
      country: undefined,
      state: 'closed',
      reason: undefined,
      openUntil: undefined,
    });
    expect(countersign.routes.explain({ to: '90 123 45 67' })).toEqual({
      kind: 'explained',
      route: {
        to: NUMBER,
        country: 'UZ',
        lineType: 'mobile',
        locale: 'uz',
        segments: 2,
        route: 'UZ',
        tried: [
          {
            provider: 'local',
            channel: 'sms',
            health: well('local'),
            price: { micros: 100_000_000, currency: 'UZS' },
            deadlineMs: 1500,
          },
          { provider: 'calls', channel: 'voice', health: well('calls'), price: undefined, deadlineMs: 3000 },
          {
            provider: 'managed',
            channel: 'sms',
            health: well('managed'),
            price: { micros: 100_000, currency: 'USD' },
            deadlineMs: 3000,
          },
        ],
        passedBy: [
          { provider: 'mail', why: 'the request gives no e-mail address' },
          { provider: 'german', why: 'it does not deliver to UZ' },
          { provider: 'spare', why: 'the number is a mobile number, and the route sends only fixed-line ones there' },
        ],
      },
    });
  });

  it('depends on what is asked for: a channel, an address, another line', async () => {
    const { countersign } = await openExplained();
    const explain = (request: object) => {
      const answer = countersign.routes.explain({ to: NUMBER, ...request });
      if (answer.kind !== 'explained') throw new Error(answer.code);
      return answer.route;
    };
    expect(explain({ channel: 'voice' }).tried.map(({ provider }) => provider)).toEqual(['local', 'calls', 'managed']);
    expect(explain({ channel: 'voice' }).passedBy[0]).toEqual({ provider: 'mail', why: 'it does not send by voice' });
    expect(explain({ hasEmail: true }).tried.map(({ channel }) => channel)).toContain('email');
    expect(explain({ to: '+998712345678' }).tried.map(({ channel }) => channel)).toEqual(['voice']);
    expect(explain({ to: '+4915123456789' })).toMatchObject({ route: '*', tried: [{ provider: 'spare' }] });
  });

  it('names the providers of other apps only to whoever runs the installation (invariant 13)', async () => {
    const { countersign } = await openExplained();
    const namesOf = (request: object) => JSON.stringify(countersign.routes.explain({ to: NUMBER, ...request }));
    expect(namesOf({})).not.toContain('of-bank');
    expect(namesOf({ allProviders: true })).toContain('of-bank');
    expect(JSON.stringify(countersign.providers.health({ app: 'default' }))).not.toContain('of-bank');
  });

  it('says how the providers are, and until when one is out', async () => {
    const { countersign, providers, clock } = await openExplained();
    (providers[0] as FakeProvider).answer = async () => failed('account', '20003');
    expectStarted(await countersign.verifications.start({ to: NUMBER }));
    expect(countersign.routes.explain({ to: NUMBER })).toMatchObject({
      route: {
        tried: [
          { provider: 'local', health: { state: 'open', reason: 'account', openUntil: clock.now + 10_000 } },
          { provider: 'calls', health: { state: 'closed' } },
          {},
        ],
      },
    });
    clock.advance(10_000);
    expect(countersign.routes.explain({ to: NUMBER })).toMatchObject({
      route: { tried: [{ health: { state: 'trial', openUntil: undefined } }, {}, {}] },
    });
  });

  it('refuses what a start would refuse', async () => {
    const { countersign } = await openExplained();
    expect(countersign.routes.explain({ to: '123' })).toMatchObject({ code: 'number-invalid' });
    expect(countersign.routes.explain({ to: '+77012345678' })).toMatchObject({ code: 'country-not-allowed' });
    expect(() => countersign.routes.explain({ app: 'nobody', to: NUMBER })).toThrow(RangeError);
  });

  it('sends, stores, counts and begins nothing', async () => {
    let probes = 0;
    const { countersign, providers, dataDir, log, clock } = await openExplained(async () => {
      probes += 1;
      return { kind: 'ready' };
    });
    (providers[0] as FakeProvider).answer = async () => failed('account', '20003');
    expectStarted(await countersign.verifications.start({ to: NUMBER }));
    clock.advance(10_000);
    const database = new DatabaseSync(join(dataDir, 'countersign.db'), { readOnly: true });
    const tables = ['verification', 'message', 'number', 'bucket', 'budget', 'usage'];
    const rows = () => tables.map((table) => database.prepare(`SELECT * FROM ${table}`).all());
    const before = [rows(), log.length];
    for (let time = 0; time < 50; time += 1) countersign.routes.explain({ to: NUMBER, allProviders: true });
    expect([rows(), log.length]).toEqual(before);
    expect([probes, ...providers.map(({ received }) => received.length)]).toEqual([0, 1, 1, 0, 0, 0, 0, 0]);
    database.close();
    // The trial is still to be had.
    expect(countersign.providers.health().find(({ provider }) => provider === 'local')?.state).toBe('trial');
  });
});
