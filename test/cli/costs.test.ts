import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { compareCosts } from '../../src/cli/costs.ts';
import { loadPriceBook, type OwnPrice } from '../../src/prices/prices.ts';
import { type Installation, makeInstallation } from './cli.ts';

type Money = { amount: number; currency: string; converted?: number };
type Offer = { provider: string; configured: boolean; one: Money; per_1000: Money; total: Money; wasted: Money };

describe('costs', () => {
  let installation: Installation;
  beforeAll(async () => {
    installation = await makeInstallation();
  });
  afterAll(() => installation[Symbol.asyncDispose]());

  async function offersFor(...options: string[]): Promise<Map<string, Offer>> {
    const { code, stderr, body } = await installation.json(['costs', ...options]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    return new Map((body.providers as Offer[]).map((offer) => [offer.provider, offer]));
  }

  it('compares ten thousand messages to Uzbekistan, cheapest first', async () => {
    const offers = await offersFor('--country', 'UZ', '--volume', '10000');
    expect(offers.get('twilio')).toMatchObject({
      one: { amount: 0.053, currency: 'USD' },
      per_1000: { amount: 53 },
      total: { amount: 530 },
    });
    expect(offers.get('eskiz')).toMatchObject({
      one: { amount: 50, currency: 'UZS', converted: 0.004 },
      per_1000: { amount: 50_000, converted: 4 },
      total: { amount: 500_000, converted: 40 },
    });
    expect(offers.get('playmobile')).toMatchObject({
      one: { amount: 60, currency: 'UZS' },
      total: { amount: 600_000 },
    });
    expect(offers.get('sms-uz')).toMatchObject({ one: { amount: 70, currency: 'UZS' }, total: { amount: 700_000 } });
    expect([...offers.keys()]).toEqual(['eskiz', 'playmobile', 'sms-uz', 'telegram', 'twilio', 'twilio-verify']);
  });

  it.each([
    ['RU', 0.0117, 11.7, 117],
    ['US', 0.0079, 7.9, 79],
    ['SA', 0.05, 50, 500],
    ['KG', 0.1, 100, 1000],
  ])('knows the price of Twilio in %s', async (country, one, perThousand, total) => {
    const offers = await offersFor('--country', country);
    expect(offers.get('twilio')).toMatchObject({
      one: { amount: one },
      per_1000: { amount: perThousand },
      total: { amount: total },
    });
  });

  it.each([
    ['US', 57.5],
    ['KG', 150],
  ])('adds messages and approvals of a thousand verified users in %s by Twilio Verify', async (country, total) => {
    const offers = await offersFor('--country', country, '--volume', '1000');
    expect(offers.get('twilio-verify')?.total).toEqual({ amount: total, currency: 'USD', converted: total });
  });

  it('counts approvals by the share that is approved, and the messages of the others as wasted', async () => {
    const offers = await offersFor('--country', 'US', '--volume', '1000', '--conversion', '0.8');
    expect(offers.get('twilio-verify')?.total.amount).toBe(47.5);
    expect(offers.get('twilio-verify')?.wasted.amount).toBe(1.5);
    expect(offers.get('twilio')).toMatchObject({ total: { amount: 7.9 }, wasted: { amount: 1.58 } });
  });

  it('multiplies by the segments what is billed by the segment, and only that', async () => {
    const offers = await offersFor('--country', 'uz', '--volume', '10', '--segments', '3');
    expect(offers.get('eskiz')?.one.amount).toBe(150);
    expect(offers.get('twilio-verify')?.one.amount).toBe(0.209);
    expect(offers.get('telegram')?.one.amount).toBe(0.01);
    expect(offers.get('twilio')?.total.amount).toBe(1.59);
  });

  it('compares in another currency', async () => {
    const offers = await offersFor('--country', 'UZ', '--currency', 'uzs');
    expect(offers.get('twilio')?.one).toEqual({ amount: 0.053, currency: 'USD', converted: 662.5 });
    expect(offers.get('eskiz')?.one).toEqual({ amount: 50, currency: 'UZS', converted: 50 });
  });

  it('names sources, days and rates, and whoever has no price', async () => {
    const { stdout } = await installation.run(['costs', '--country', 'UZ']);
    expect(stdout).toContain('10 000 messages of 1 segment to Uzbekistan (UZ):\n');
    expect(stdout).toMatch(/^eskiz +sms +50 so'm +50 000 so'm +500 000 so'm +\$0\.0040 +\$4\.00 +\$40\.00$/m);
    expect(stdout).toMatch(/^twilio +sms +\$0\.0530 +\$53\.00 +\$530\.00 +\$0\.0530 +\$53\.00 +\$530\.00$/m);
    expect(stdout).toMatch(
      /^ {2}twilio +\$0\.0530 per segment +list price reported by users, 2026-11; .*\(2026-11-20\)$/m,
    );
    expect(stdout).toMatch(/^ {2}twilio-verify +\$0\.0500 per approval +list price/m);
    expect(stdout).toContain("Counted with 1 USD = 12 500 so'm");
    expect(stdout).toMatch(/^By contract: +(?=.*getsms)(?=.*messaggio,)(?=.*whatsapp)/m);
    expect(stdout).toMatch(/^No price for UZ: +(?=.*twilio-voice)/m);
  });

  it('has no column twice', async () => {
    const { stdout } = await installation.run(['costs', '--country', 'US', '--volume', '1000']);
    expect(stdout).toMatch(/^PROVIDER +CHANNEL +ONE +1 000$/m);
    const single = await installation.run(['costs', '--country', 'US', '--volume', '1', '--conversion', '0.5']);
    expect(single.stdout).toContain('1 message of 1 segment to United States (US), with 50 % of the codes approved:');
    expect(single.stdout).toMatch(/^PROVIDER +CHANNEL +ONE +1 000 +OF IT WASTED$/m);
  });

  it('does not pass off the half of a price for the whole', async () => {
    const { stdout } = await installation.run(['costs', '--country', 'DE']);
    expect(stdout).not.toMatch(/^twilio-verify/m);
    expect(stdout).toMatch(/^Not the whole price: +twilio-verify by sms: \$0\.0500 per approval, but/m);
    expect(stdout).toMatch(/^No price for DE: +twilio, /m);
    // They serve Uzbekistan alone.
    expect(stdout).not.toMatch(/eskiz|getsms/);
  });

  it('marks what is configured', async () => {
    const { stdout } = await installation.run(['costs', '--country', 'US'], {
      TWILIO_ACCOUNT_SID: `AC${'0'.repeat(32)}`,
      TWILIO_AUTH_TOKEN: 'token',
      TWILIO_PHONE_NUMBER: '+15005550006',
    });
    expect(stdout).toMatch(/^twilio \* +sms/m);
    expect(stdout).toMatch(/^twilio-verify +sms/m);
    expect(stdout).toContain('\n* configured here\n');
  });

  it('counts with the prices and rates of the configuration, as routes and budgets do', async () => {
    const file = join(installation.directory, 'own-prices.json');
    const prices = [{ provider: 'eskiz', country: 'UZ', amount: 45, currency: 'UZS' }];
    writeFileSync(file, JSON.stringify({ prices, exchangeRates: { UZS: 10_000 } }));
    const options = ['costs', '--country', 'UZ', '--volume', '1000'];
    const { body } = await installation.json(options, { COUNTERSIGN_CONFIG: file });
    expect((body.providers as Offer[])[0]).toMatchObject({
      provider: 'eskiz',
      one: { amount: 45, currency: 'UZS', converted: 0.0045 },
    });
  });

  it.each([
    [[], '--country is missing'],
    [['--country', 'XX'], "There is no country 'XX'"],
    [['--country', 'Uzbekistan'], "There is no country 'Uzbekistan'"],
    [['--country', 'UZ', '--volume', '0'], "--volume is a whole number from 1 to 1000000000, not '0'"],
    [['--country', 'UZ', '--volume', 'many'], "--volume is a whole number from 1 to 1000000000, not 'many'"],
    [['--country', 'UZ', '--volume', '1e4'], "not '1e4'"],
    [['--country', 'UZ', '--volume', '10000000000'], "not '10000000000'"],
    [['--country', 'UZ', '--volume=-5'], "not '-5'"],
    [['--country', 'UZ', '--volume', ''], "not ''"],
    [['--country', 'UZ', '--segments', '1.5'], "--segments is a whole number from 1 to 255, not '1.5'"],
    [['--country', 'UZ', '--segments', '256'], "not '256'"],
    [['--country', 'UZ', '--conversion', '90'], '--conversion is a share from 0 to 1'],
    [['--country', 'UZ', '--conversion', '.'], '--conversion is a share from 0 to 1'],
    [['--country', 'UZ', '--currency', 'SUM'], "There is no exchange rate for 'SUM'; there are: USD, AED, EUR,"],
    [['UZ'], "'UZ' is one argument too many"],
    [['--country', 'UZ', '--volum', '5'], 'There is no option --volum; did you mean --volume?'],
  ])('refuses %j with exit code 2 and says what is wrong', async (args, message) => {
    const { code, stdout, stderr } = await installation.run(['costs', ...args]);
    expect(stderr).toContain(message);
    expect(stderr).toMatch(/See npm run -s countersign -- costs --help\n$/);
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
  });

  it('exits with 1 when the configuration, where prices may be, has faults', async () => {
    const { code, stdout, stderr } = await installation.run(['costs', '--country', 'UZ'], { PORT: 'many' });
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
    expect(stderr).toContain('PORT');
  });

  it.each(['docs/costs.md', 'docs/cli.md'])('prints what %s shows', async (file) => {
    const page = readFileSync(new URL(`../../${file}`, import.meta.url), 'utf8');
    const shown = [...page.matchAll(/^```text\n\$ countersign (costs .*)\n([\s\S]*?)^```$/gm)];
    expect(shown.length).toBeGreaterThan(0);
    for (const [, line = '', output] of shown) {
      const { stdout, stderr } = await installation.run(line.split(' '));
      expect(stdout + stderr).toBe(output);
    }
  });
});

describe("a comparison with the operator's prices", () => {
  const question = { country: 'KZ', volume: 100, segments: 2, conversion: 0.5, currency: 'USD' };
  const own = (row: Partial<OwnPrice>): OwnPrice => ({
    provider: 'messaggio',
    country: 'KZ',
    channel: 'sms',
    per: 'segment',
    amount: 5.2,
    currency: 'KZT',
    ...row,
  });

  it('takes them in, with their rates, and no longer calls the provider one by contract', () => {
    const { offers, byContract } = compareCosts(loadPriceBook([own({})], { KZT: 520 }), question, ['messaggio']);
    expect(offers.find(({ provider }) => provider === 'messaggio')).toMatchObject({
      isConfigured: true,
      one: { own: { micros: 10_400_000, currency: 'KZT' }, converted: { micros: 20_000, currency: 'USD' } },
      total: { own: { micros: 1_040_000_000 }, converted: { micros: 2_000_000 } },
      wasted: { converted: { micros: 1_000_000 } },
    });
    expect(byContract).not.toContain('messaggio');
    expect(byContract).toContain('messaggio-otp');
  });

  it('adds up messages and approvals of different currencies', () => {
    const book = loadPriceBook([own({}), own({ per: 'approval', amount: 0.04, currency: 'USD' })], { KZT: 500 });
    const [offer] = compareCosts(book, question, []).offers.filter(({ provider }) => provider === 'messaggio');
    // Two segments of 5.20 KZT, and half an approval of 20 KZT.
    expect(offer?.one.own).toEqual({ micros: 20_400_000, currency: 'KZT' });
  });

  it('puts what cannot be converted last, and what cannot be added up aside', () => {
    const book = loadPriceBook([
      own({ currency: 'GBP', amount: 0.001 }),
      own({ provider: 'plivo' }),
      own({ provider: 'plivo', per: 'approval', currency: 'GBP', amount: 1 }),
    ]);
    const { offers, incomplete } = compareCosts(book, question, []);
    expect(offers.map(({ provider }) => provider)).toEqual(['telegram', 'messaggio']);
    expect(offers[1]?.total.converted).toBeUndefined();
    expect(incomplete.find(({ provider }) => provider === 'plivo')?.why).toContain('no exchange rate');
  });

  it('names a configured provider that nobody has a price for', () => {
    const { withoutPrice } = compareCosts(loadPriceBook(), question, ['our-gateway', 'telegram']);
    expect(withoutPrice).toContain('our-gateway');
    expect(withoutPrice).not.toContain('telegram');
  });
});
