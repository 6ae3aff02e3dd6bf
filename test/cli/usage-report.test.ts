import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { eskizSimulator } from '../../src/simulators/eskiz.ts';
import type { Simulator } from '../../src/simulators/simulator-kit.ts';
import { twilioVerifySimulator } from '../../src/simulators/twilio-verify.ts';
import { codeIn, configure, type Installation, makeInstallation } from './cli.ts';

const today = () => new Date().toISOString().slice(0, 10);

describe('usage', () => {
  let installation: Installation;
  let eskiz: Simulator;
  let verify: Simulator;
  beforeAll(async () => {
    [eskiz, verify] = await Promise.all([eskizSimulator.start(), twilioVerifySimulator.start()]);
    installation = await makeInstallation({
      ...eskizSimulator.environment(eskiz.url),
      ...twilioVerifySimulator.environment(verify.url),
    });
    configure(installation, {
      apps: { default: { routes: { UZ: ['eskiz'], US: ['twilio-verify'] } }, taxi: { routes: { UZ: ['eskiz'] } } },
    });
    const first = await installation.json(['send', '+998901234567']);
    await installation.json(['check', first.body.id, codeIn(eskiz.messages[0]?.text)]);
    await installation.run(['send', '+998901234568']);
    await installation.run(['send', '+998901234569', '--app', 'taxi', '--text', 'Your driver is here.']);
    const managed = await installation.json(['send', '+12125551234']);
    await installation.json(['check', managed.body.id, codeIn(verify.messages[0]?.text)]);
  });
  afterAll(async () => {
    await installation[Symbol.asyncDispose]();
    await Promise.all([eskiz.close(), verify.close()]);
  });

  it('adds up by provider: counts, conversion, cost and what of it was wasted', async () => {
    const { code, stdout, stderr } = await installation.run(['usage']);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(stdout).toMatch(/^All apps, \d{4}-\d\d-\d\d to \d{4}-\d\d-\d\d \(UTC\):$/m);
    expect(stdout).toMatch(/^eskiz +3 +0 +0 +1 +50\.0 % +150 so'm +50 so'm$/m);
    // The message, and the fee of the approval.
    expect(stdout).toMatch(/^twilio-verify +1 +0 +0 +1 +100\.0 % +\$0\.0575 +\$0\.00$/m);
    expect(stdout).toMatch(/^total +4 +0 +0 +2 +66\.7 % +\$0\.0575 \+ 150 so'm +\$0\.00 \+ 50 so'm$/m);
  });

  it('says the same to a program, by app, country or day', async () => {
    const byApp = await installation.json(['usage', '--by', 'app', '--from', today()]);
    expect(byApp.body).toMatchObject({
      from: today(),
      to: today(),
      by: 'app',
      rows: [
        { app: 'default', sent: 3, codes: 3, approved: 2, unpriced: 0 },
        { app: 'taxi', sent: 1, codes: 0, approved: 0, cost: [{ amount: 50, currency: 'UZS' }] },
      ],
      total: {
        sent: 4,
        delivered: 0,
        failed: 0,
        conversion: 2 / 3,
        cost: [
          { amount: 0.0575, currency: 'USD' },
          { amount: 150, currency: 'UZS' },
        ],
      },
    });
    const { body } = await installation.json(['usage', '--by', 'country', '--app', 'taxi']);
    expect(body.rows).toEqual([expect.objectContaining({ country: 'UZ', sent: 1 })]);
    expect((await installation.json(['usage', '--by', 'day'])).body.rows).toMatchObject([{ day: today(), sent: 4 }]);
  });

  it('ends with the day that is asked for, thirty days long', async () => {
    const { body } = await installation.json(['usage', '--to', '2026-01-31']);
    expect(body).toMatchObject({ from: '2026-01-02', to: '2026-01-31', rows: [], total: { sent: 0, cost: [] } });
    const { stdout } = await installation.run(['usage', '--to', '2026-01-31', '--app', 'taxi']);
    expect(stdout).toBe('App taxi, 2026-01-02 to 2026-01-31 (UTC):\n\n  Nothing was sent.\n');
  });

  it('does not pass off messages without a known price as free', async () => {
    const alone = await makeInstallation();
    await alone.run(['send', '+998901234567']);
    const { stdout } = await alone.run(['usage']);
    expect(stdout).toMatch(/^inbox +1 +0 +0 +0 +0\.0 % +\? +\?$/m);
    expect(stdout).toContain('The price of 1 of them is not known');
    await alone[Symbol.asyncDispose]();
  });
});
