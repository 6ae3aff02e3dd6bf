import { afterEach, describe, expect, it } from 'vitest';
import { defaultTexts } from '../../src/domain/texts.ts';
import { configure, type Environment, type Installation, makeInstallation } from './cli.ts';

const open: AsyncDisposable[] = [];
afterEach(async () => {
  for (const each of open.splice(0).toReversed()) await each[Symbol.asyncDispose]();
});

async function install(app: object, settings: Environment = {}): Promise<Installation> {
  const installation = await makeInstallation(settings);
  open.push(installation);
  configure(installation, { apps: { taxi: { brand: 'Royal Taxi', ...app }, shop: {} } });
  return installation;
}

const eskiz = { ESKIZ_EMAIL: 'us@example.com', ESKIZ_PASSWORD: 'eskiz-secret' };
const royal =
  "{brand} tasdiqlash kodi: {code}\nKod {minutes} daqiqa davomida amal qiladi.\nAgar siz bu kodni so'ramagan bo'lsangiz, bu xabarni e'tiborsiz qoldiring.";

describe('texts lint', () => {
  it('finds nothing to mend in the built-in texts of any app, and opens no store', async () => {
    const installation = await install({});
    const { code, body, stderr } = await installation.json(['texts', 'lint']);
    expect({ code, stderr, ok: body.ok }).toEqual({ code: 0, stderr: '', ok: true });
    expect(body.apps.map(({ app }: { app: string }) => app)).toEqual(['taxi', 'shop']);
    for (const { texts } of body.apps) expect(texts).toHaveLength(Object.keys(defaultTexts).length);
  });

  it('tells of an own text what it is billed as, what that costs, and who fills the code in', async () => {
    const autofill = { domain: 'taxi.example.com', appHashes: ['FA+9qCX9VSu'] };
    const texts = { uz: royal, en: '{brand}: {code} is your code.' };
    const installation = await install({ country: 'UZ', texts, autofill, routes: { UZ: ['eskiz'] } }, eskiz);
    const { code, body } = await installation.json(['texts', 'lint', '--app', 'taxi', '--locale', 'uz-UZ']);
    const [taxi] = body.apps;
    expect(taxi).toMatchObject({ app: 'taxi', prices_of: { country: 'UZ', provider: 'eskiz', channel: 'sms' } });
    expect(taxi.texts).toMatchObject([
      {
        locale: 'uz',
        own: true,
        encoding: 'GSM-7',
        units: 144,
        segments: 1,
        price: { amount: 50, currency: 'UZS' },
        autofill: { ios: true, web_otp: false, sms_retriever: false },
        findings: [],
      },
      {
        ending: '@taxi.example.com',
        segments: 2,
        price: { amount: 100, currency: 'UZS' },
        autofill: { web_otp: true },
        findings: [{ level: 'warning' }],
      },
      { ending: 'FA+9qCX9VSu', autofill: { sms_retriever: false }, findings: [{ level: 'error' }] },
    ]);
    expect(taxi.texts[0].text).toContain('Royal Taxi tasdiqlash kodi: 123456\n');
    // SMS Retriever reads 140 bytes: with the hash the text is too long for it.
    expect({ code, ok: body.ok }).toEqual({ code: 1, ok: false });

    const shown = await installation.run(['texts', 'lint', '--app', 'taxi', '--locale', 'uz']);
    expect(shown.code).toBe(1);
    expect(shown.stdout).toContain('App taxi (Royal Taxi); prices of eskiz by sms in UZ:');
    expect(shown.stdout).toMatch(/^ {2}uz +own +none +GSM-7 +144 +1 +50 so'm +iOS$/m);
    expect(shown.stdout).toMatch(/^ {2}uz +own +@taxi\.example\.com +GSM-7 +170 +2 +100 so'm +iOS, WebOTP$/m);
    expect(shown.stdout).toMatch(/^✗ uz with FA\+9qCX9VSu: with the app hash the text has 156 bytes/m);

    const en = await installation.run(['texts', 'lint', '--app', 'taxi', '--locale', 'en']);
    expect(en.code).toBe(0);
  });

  it('exits with 1 for an own text that would be sent in pieces beyond measure', async () => {
    const installation = await install({ texts: { ru: `${'Ваш код скоро придёт. '.repeat(40)}{brand} {code}` } });
    const { code, stdout } = await installation.run(['texts', 'lint', '--locale', 'ru']);
    expect(code).toBe(1);
    expect(stdout).toMatch(/^✗ ru: the text needs \d+ segments, 10 are the most$/m);
  });

  it('says what costs more, once for all texts that it is about', async () => {
    const installation = await install({ texts: { en: '{brand}: your “code” is {code}, ſorry.' } });
    const { code, stdout } = await installation.run(['texts', 'lint', '--app', 'taxi']);
    expect(code).toBe(0);
    expect(stdout.match(/^! en: the text is changed before sending: /gm)).toHaveLength(1);
    expect(stdout).toMatch(/U\+017F ſ: outside GSM-7/);
  });

  it('leaves a text without {code} to the configuration, which refuses it with 1', async () => {
    const installation = await install({ texts: { en: 'Hello' } });
    const run = await installation.run(['texts', 'lint']);
    expect(run).toMatchObject({ code: 1, stdout: '', stderr: expect.stringContaining('{code} is missing') });
  });
});
