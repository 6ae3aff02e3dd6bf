import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseEnv } from 'node:util';
import { afterEach, describe, expect, it } from 'vitest';
import { environmentLines } from '../../src/cli/simulate.ts';
import { simulatorDefinitions } from '../../src/simulators/index.ts';
import { codeIn, collect, eventually, type Installation, makeInstallation } from './cli.ts';

const open: AsyncDisposable[] = [];
afterEach(async () => {
  for (const each of open.splice(0).toReversed()) await each[Symbol.asyncDispose]();
});

async function install(): Promise<Installation> {
  const installation = await makeInstallation();
  open.push(installation);
  return installation;
}

/** The command, once it says where it listens. */
async function simulate(installation: Installation, ...args: string[]) {
  const child = installation.start(['simulate', ...args]);
  const [stdout, stderr] = [collect(child.stdout), collect(child.stderr)];
  const ended = once(child, 'close') as Promise<[number | null]>;
  const url = await eventually(() => /(?:is ready: |"url":")(\w+:\/\/[\d.]+:\d+)[\s\S]*\n/.exec(stdout())?.[1]);
  return {
    url,
    stdout,
    stderr,
    async stop(signal: NodeJS.Signals = 'SIGINT') {
      child.kill(signal);
      return (await ended)[0];
    },
  };
}

const TO = '+998901234567';

describe('simulate', () => {
  it('prints an environment with which send delivers, and each message as it comes', async () => {
    const installation = await install();
    const eskiz = await simulate(installation, 'eskiz');
    await eventually(() => eskiz.stdout().includes('Messages:') || undefined);
    const lines = eskiz
      .stdout()
      .split('\n')
      .filter((line) => /^[A-Z_]+=/.test(line));
    expect(lines).toHaveLength(3);
    // As a person would: into .env.
    writeFileSync(join(installation.directory, 'work', '.env'), `${lines.join('\n')}\n`);
    const { code, body } = await installation.json(['send', TO]);
    expect({ code, body }).toMatchObject({ code: 0, body: { provider: 'eskiz' } });
    const shown = await eventually(() => /\n[\d:]{8} {2}(\+\d+)\n {4}(.*)\n/.exec(eskiz.stdout()) ?? undefined);
    expect(shown[1]).toBe(TO);
    expect((await installation.run(['check', body.id, codeIn(shown[2])])).code).toBe(0);
    const seen = (await (await fetch(`${eskiz.url}/simulator/messages`)).json()) as { messages: object[] };
    expect(seen.messages).toMatchObject([{ to: TO }]);
    expect(await eskiz.stop()).toBe(0);
    expect(eskiz.stderr()).toBe('');
  });

  it('fails as it is told, and does well again when it is told so while it runs', async () => {
    const installation = await install();
    const eskiz = await simulate(installation, 'eskiz', '--fault', 'balance', '--json');
    const { environment, fault } = JSON.parse(eskiz.stdout().split('\n')[0] ?? '');
    expect(fault).toBe('balance');
    const refused = await installation.run(['send', TO], environment);
    expect(refused).toMatchObject({ code: 1, stderr: expect.stringContaining('eskiz: account (balance)') });

    const wrong = await fetch(`${eskiz.url}/simulator/fault`, { method: 'PUT', body: 'stal' });
    expect(wrong.status).toBe(400);
    await fetch(`${eskiz.url}/simulator/fault`, { method: 'PUT' });
    expect((await installation.run(['send', '+998901234568'], environment)).code).toBe(0);
    const message = await eventually(() => eskiz.stdout().split('\n')[1] || undefined);
    expect(JSON.parse(message)).toEqual({ id: expect.any(String), to: '+998901234568', text: expect.any(String) });
    expect(await eskiz.stop('SIGTERM')).toBe(0);
  });

  it('posts delivery reports where it is told', async () => {
    const installation = await install();
    const PUBLIC_URL = `http://127.0.0.1:${installation.environment['PORT']}`;
    const server = await installation.serve({ PUBLIC_URL });
    const credentials = {
      PUBLIC_URL,
      PLAYMOBILE_LOGIN: 'x',
      PLAYMOBILE_PASSWORD: 'y',
      PLAYMOBILE_ORIGINATOR: '3700',
      PLAYMOBILE_BASE_URL: 'http://127.0.0.1:9',
    };
    const told = await installation.json(['doctor', '--reports'], credentials);
    const address = told.body.findings.find(({ check }: { check: string }) => check === 'reports playmobile')?.detail;
    expect(address).toMatch(/\/v1\/reports\/playmobile\/[\w-]{32}$/);
    expect((await installation.run(['doctor'], credentials)).stdout).not.toContain('/v1/reports/');
    await server.stop();

    const playmobile = await simulate(installation, 'playmobile', '--report-url', address, '--json');
    const { environment } = JSON.parse(playmobile.stdout().split('\n')[0] ?? '');
    await installation.serve({ PUBLIC_URL, ...environment });
    await installation.run(['send', TO], { PUBLIC_URL, ...environment });
    await eventually(async () => {
      const { body } = await installation.json(['usage']);
      return body.total.delivered === 1 || undefined;
    });

    const say = (body: string) => fetch(`${playmobile.url}/simulator/delivery`, { method: 'PUT', body });
    for (const wrong of ['{}', '[{"state":"Delivered"}]', '[{"status":"Delivered","times":-1}]', '[null]', 'x'])
      expect((await say(wrong)).status, wrong).toBe(400);
    expect((await say('[{"status":"NotDelivered","times":2},{"status":"Transmitted"}]')).status).toBe(200);
    await installation.run(['send', '+998901234568'], { PUBLIC_URL, ...environment });
    await eventually(async () => {
      const { body } = await installation.json(['usage']);
      return (body.total.failed === 1 && body.total.delivered === 1) || undefined;
    });
  });

  it('says which port is in use', async () => {
    const installation = await install();
    const eskiz = await simulate(installation, 'eskiz');
    const { port } = new URL(eskiz.url);
    const second = await installation.run(['simulate', 'eskiz', '--port', port]);
    expect(second).toMatchObject({ code: 1, stdout: '' });
    expect(second.stderr).toContain(`Port ${port} is in use.`);
  });

  // One of each kind: HTTP, a configuration of the operator's own, and no HTTP at all.
  it.each(['vonage', 'http', 'smpp'])('starts the simulator of %s', async (id) => {
    const simulated = await simulate(await install(), id);
    await eventually(() => simulated.stdout().includes('Messages:') || undefined);
    expect(simulated.stdout()).toMatch(/^[A-Z_]+=\S/m);
    expect(simulated.stdout()).toMatch(/^Faults: .*stall/m);
    expect(await simulated.stop()).toBe(0);
    expect(simulated.stderr()).toBe('');
  });

  it('writes an environment as .env is read', () => {
    for (const { environment } of simulatorDefinitions) {
      const given = environment('http://127.0.0.1:9000');
      expect(parseEnv(environmentLines(given))).toEqual(given);
    }
    const hard = { PLAIN: 'a-b_c', SPACED: ' a # b ', QUOTED: `it's`, BOTH: `it's "so"` };
    expect(parseEnv(environmentLines(hard))).toEqual(hard);
    expect(environmentLines({ PLAIN: 'a-b_c' })).toBe('PLAIN=a-b_c');
  });
});
