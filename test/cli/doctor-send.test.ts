import { afterEach, describe, expect, it } from 'vitest';
import { eskizSimulator } from '../../src/simulators/eskiz.ts';
import type { Simulator, SimulatorDefinition } from '../../src/simulators/simulator-kit.ts';
import { twilioSimulator } from '../../src/simulators/twilio.ts';
import { twilioVerifySimulator } from '../../src/simulators/twilio-verify.ts';
import {
  codeIn,
  configure,
  type Environment,
  type Installation,
  makeInstallation,
  productionEnvironment,
  type Run,
} from './cli.ts';

const open: AsyncDisposable[] = [];
afterEach(async () => {
  for (const each of open.splice(0).toReversed()) await each[Symbol.asyncDispose]();
});

async function install(settings?: Environment): Promise<Installation> {
  const installation = await makeInstallation(settings);
  open.push(installation);
  return installation;
}

async function simulator(definition: SimulatorDefinition = twilioSimulator): Promise<Simulator> {
  const started = await definition.start();
  open.push({ [Symbol.asyncDispose]: () => started.close() });
  return started;
}

type Finding = { check: string; result: string; detail: string; fix?: string };

async function trySend(
  installation: Installation,
  ...args: string[]
): Promise<Run & { body: { ok: boolean; findings: Finding[]; sent?: Record<string, unknown> }; sends: Finding[] }> {
  const run = await installation.json(['doctor', '--send', ...args]);
  const sends = (run.body.findings as Finding[]).filter(({ check }) => check.startsWith('send'));
  return { ...run, sends };
}

const TO = '+998901234567';

describe('doctor --send', () => {
  it('warns of the cost, sends one message by the route of the app, and waits until it is delivered', async () => {
    const twilio = await simulator();
    const installation = await install(productionEnvironment(twilio));
    const { code, body, sends, stderr, stdout } = await trySend(installation, TO);
    expect(stderr).toBe(
      `countersign: this sends one real message to ${TO}, which costs money: through twilio by sms (about $0.0530)\n`,
    );
    expect(twilio.messages).toHaveLength(1);
    expect(sends).toEqual([
      {
        check: 'send twilio',
        result: 'fine',
        detail: expect.stringMatching(/^took it by sms as SM\w+, for \$0\.\d+ .*, and delivered it within \d+ s$/),
      },
    ]);
    expect(body.sent).toMatchObject({ app: 'default', to: TO, provider: 'twilio', channel: 'sms', state: 'delivered' });
    expect(code).toBe(0);
    const digits = codeIn(twilio.messages[0]?.text);
    expect(digits).toMatch(/^\d{6}$/);
    expect(stdout + stderr).not.toContain(digits);
    // Nobody can use what was on its way.
    const checked = await installation.run(['check', '--to', TO, '--purpose', 'doctor', digits]);
    expect(checked.code).toBe(3);
  });

  it('takes the provider that is named, one that makes its own codes too, and no other', async () => {
    const [eskiz, verify] = await Promise.all([simulator(eskizSimulator), simulator(twilioVerifySimulator)]);
    const installation = await install({
      ...eskizSimulator.environment(eskiz.url),
      ...twilioVerifySimulator.environment(verify.url),
    });
    configure(installation, { apps: { taxi: { routes: { UZ: ['eskiz'] } } } });
    const managed = await trySend(installation, '90 123 45 67', '--country', 'uz', '--provider', 'twilio-verify');
    expect(managed.body.sent).toMatchObject({ app: 'taxi', provider: 'twilio-verify' });
    expect([eskiz.messages.length, verify.messages.length]).toEqual([0, 1]);
    eskiz.behaveAlways('balance');
    const refused = await trySend(installation, TO, '--provider', 'eskiz');
    expect(refused.sends).toMatchObject([
      { check: 'send eskiz', result: 'fault', detail: 'refused it: account (balance)' },
    ]);
    expect(verify.messages).toHaveLength(1);
    // The first one waits for a word that Twilio Verify never says.
  }, 60_000);

  it.each([
    ['credentials', 'account (20003)', 'copy TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN'],
    ['bad-number', 'recipient (21211)', 'write it internationally'],
  ] as const)('turns a refusal for %s into what to do', async (fault, said, fix) => {
    const twilio = await simulator();
    const installation = await install(productionEnvironment(twilio));
    // The first request is the probe of the ordinary examination.
    twilio.behaveAlways(fault);
    const { code, sends } = await trySend(installation, TO);
    expect(code).toBe(1);
    expect(sends).toMatchObject([
      { result: 'fault', detail: `refused it: ${said}`, fix: expect.stringContaining(fix) },
    ]);
  });

  it.each([
    [21608, 'trial account, which sends only to verified numbers'],
    [21408, 'allow it in the console under Geo permissions'],
    [21606, 'The sender is not one of this account'],
    [30002, 'suspended, mostly for want of credit'],
  ])('knows what to do about %d of Twilio', async (code, fix) => {
    const twilio = await simulator();
    const installation = await install(productionEnvironment(twilio));
    twilio.behaveAlways({ kind: 'answer', answer: { status: 400, body: { code, message: 'no', status: 400 } } });
    const { sends } = await trySend(installation, TO);
    expect(sends).toMatchObject([{ result: 'fault', fix: expect.stringContaining(fix) }]);
  });

  it('tells every provider of the route that refused, and who took it in the end', async () => {
    const [eskiz, twilio] = await Promise.all([simulator(eskizSimulator), simulator()]);
    const installation = await install({
      ...productionEnvironment(twilio),
      ...eskizSimulator.environment(eskiz.url),
    });
    configure(installation, { apps: { default: { routes: { '*': ['eskiz', 'twilio'] } } } });
    eskiz.behaveAlways('content');
    const { code, sends, stderr } = await trySend(installation, TO);
    expect(stderr).toContain("through eskiz by sms (about 50 so'm), or else twilio by sms");
    expect(sends.map(({ check, result }) => [check, result])).toEqual([
      ['send eskiz', 'fault'],
      ['send twilio', 'fine'],
    ]);
    expect(sends[0]?.fix).toContain('approved texts only');
    expect(code).toBe(1);
  });

  it('says what a delivery report says, when it is not good', async () => {
    const twilio = await simulator();
    const installation = await install(productionEnvironment(twilio));
    twilio.deliver({ status: 'undelivered', errorCode: 30008 });
    const { sends, body } = await trySend(installation, TO);
    expect(sends).toMatchObject([
      { result: 'fault', detail: expect.stringContaining('and then said: undelivered, unavailable (30008)') },
    ]);
    expect(body.sent).toMatchObject({ state: 'undelivered', code: '30008' });
  });

  it('sends nothing where messages stop in the inbox, to a number that is none, or with a configuration at fault', async () => {
    const installation = await install();
    const inbox = await trySend(installation, TO);
    expect(inbox.sends).toMatchObject([{ result: 'skipped', detail: expect.stringContaining('stop in the inbox') }]);
    const national = await trySend(installation, '90123');
    expect(national.sends).toMatchObject([{ result: 'fault', fix: expect.stringContaining('+ and country code') }]);
    const broken = await installation.json(['doctor', '--send', TO], { PORT: '99999' });
    expect(broken.body.findings.at(-1)).toMatchObject({ check: 'send', result: 'skipped' });
    expect(broken.stderr).toBe('');
  });
});
