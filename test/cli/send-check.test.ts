import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { afterEach, describe, expect, it } from 'vitest';
import type { Simulator } from '../../src/simulators/simulator-kit.ts';
import { twilioSimulator } from '../../src/simulators/twilio.ts';
import { twilioVerifySimulator } from '../../src/simulators/twilio-verify.ts';
import {
  codeIn,
  eventually,
  type Installation,
  makeInstallation,
  otherCode,
  productionEnvironment,
  type Server,
  twilioEnvironment,
} from './cli.ts';

const open: AsyncDisposable[] = [];
afterEach(async () => {
  for (const each of open.splice(0).toReversed()) await each[Symbol.asyncDispose]();
});

async function install(settings?: Record<string, string>): Promise<Installation> {
  const installation = await makeInstallation(settings);
  open.push(installation);
  return installation;
}

async function simulator(): Promise<Simulator> {
  const started = await twilioSimulator.start();
  open.push({ [Symbol.asyncDispose]: () => started.close() });
  return started;
}

async function inboxOf(server: Server): Promise<{ to: string; text: string; code?: string }[]> {
  const response = await fetch(`${server.url}/inbox/api/messages`);
  return ((await response.json()) as { messages: { to: string; text: string; code?: string }[] }).messages;
}

const TO = '+998901234567';

describe('send and check without a server', () => {
  it('sends a code and approves it once, by id, with 0, then 3 and the stable problem code', async () => {
    const installation = await install();
    const sent = await installation.json(['send', TO]);
    expect(sent).toMatchObject({
      code: 0,
      stderr: '',
      body: { to: TO, status: 'pending', via: 'store', provider: 'inbox' },
    });
    const { id, code } = sent.body;

    const wrong = await installation.json(['check', id, otherCode(code)]);
    expect(wrong).toMatchObject({ code: 3, body: { code: 'code-wrong', attempts_left: 4 } });
    expect(wrong.stderr).toBe('countersign: code-wrong: This is not the code. Attempts left: 4.\n');

    const right = await installation.run(['check', id, code]);
    expect(right).toMatchObject({ code: 0, stderr: '' });
    expect(right.stdout).toContain(`Approved: ${TO}`);
    expect(right.stdout).toMatch(/Token {9}eyJ/);

    const again = await installation.json(['check', id, code]);
    expect(again).toMatchObject({ code: 3, body: { code: 'verification-settled', verification_status: 'approved' } });
  });

  it('says in words what was done, and gives the line that checks the code', async () => {
    const installation = await install();
    const { code, stdout } = await installation.run(['send', '90 123 45 67', '--country', 'uz', '--locale', 'ru']);
    expect(code).toBe(0);
    expect(stdout).toContain(`Sent a code to ${TO} by sms.`);
    expect(stdout).toMatch(/Code {10}\d{6} \(shown in development mode only\)/);
    expect(stdout).toContain('no server runs at 127.0.0.1:');
    const [, id = '', digits = ''] = /-- check (ver_\S+) (\d{6})/.exec(stdout) ?? [];
    expect((await installation.run(['check', id, digits])).code).toBe(0);
  });

  it('checks by number and purpose, where a code of another purpose is a wrong one', async () => {
    const installation = await install();
    const { body } = await installation.json(['send', TO, '--purpose', 'payment']);
    const asLogin = await installation.json(['check', '--to', TO, body.code]);
    expect(asLogin).toMatchObject({ code: 3, body: { code: 'code-wrong' } });
    const asPayment = await installation.json(['check', '--to', TO, '--purpose', 'payment', body.code]);
    expect(asPayment).toMatchObject({ code: 0, body: { id: body.id, status: 'approved', purpose: 'payment' } });
  });

  it('exits with 3 for a number that is none and for a limit, and says when to try again', async () => {
    const COUNTERSIGN_CONFIG = 'countersign.config.json';
    const installation = await install({ COUNTERSIGN_CONFIG });
    const config = { apps: { default: { limits: { messagesPerNumber: [{ max: 1, windowSeconds: 600 }] } } } };
    writeFileSync(join(installation.directory, 'work', COUNTERSIGN_CONFIG), JSON.stringify(config));
    const none = await installation.run(['send', '+99890123']);
    expect(none).toMatchObject({
      code: 3,
      stdout: '',
      stderr: expect.stringContaining('countersign: number-invalid: '),
    });
    expect(await installation.json(['send', TO, '--text', 'Hello'])).toMatchObject({
      code: 0,
      body: { text: 'Hello' },
    });
    const limited = await installation.json(['send', TO, '--text', 'Hello again']);
    expect(limited).toMatchObject({ code: 3, body: { code: 'rate-limited' } });
    expect(limited.body.retry_after).toBeGreaterThan(500);
    expect(limited.stderr).toContain('Retry after 10 min.');
  });

  it('asks which app is meant where several are configured and none is the default', async () => {
    const COUNTERSIGN_CONFIG = 'countersign.config.json';
    const installation = await install({ COUNTERSIGN_CONFIG });
    const config = { apps: { taxi: { brand: 'Royal Taxi' }, shop: {} } };
    writeFileSync(join(installation.directory, 'work', COUNTERSIGN_CONFIG), JSON.stringify(config));
    const unclear = await installation.run(['send', TO]);
    expect(unclear).toMatchObject({ code: 2, stderr: expect.stringContaining('Say which app with --app: taxi, shop') });
    const { body } = await installation.json(['send', TO, '--app', 'shop']);
    expect(await installation.json(['check', '--app', 'taxi', body.id, body.code])).toMatchObject({
      code: 3,
      body: { code: 'verification-unknown' },
    });
    expect((await installation.run(['check', '--app', 'shop', body.id, body.code])).code).toBe(0);
  });
});

describe('send beside a running server', () => {
  it('goes through a server in development mode, so that its inbox shows the message', async () => {
    const installation = await install();
    const server = await installation.serve();
    const alone = await install();
    const { body: direct } = await alone.json(['send', TO]);

    const { code, body } = await installation.json(['send', TO]);
    expect(code).toBe(0);
    expect(body).toMatchObject({ via: 'server', provider: 'inbox', inbox: `${server.url}/inbox` });
    expect(await inboxOf(server)).toMatchObject([{ to: TO, code: body.code }]);
    // The same fields by either way: a program need not know which it was.
    expect(
      Object.keys(body)
        .filter((key) => key !== 'inbox')
        .sort(),
    ).toEqual(Object.keys(direct).sort());

    const text = await installation.run(['send', TO, '--text', 'Your driver is here.']);
    expect(text.stdout).toContain(`Read it at  ${server.url}/inbox`);
    expect((await inboxOf(server))[0]).toMatchObject({ text: 'Your driver is here.' });
    expect(await installation.json(['send', '12'])).toMatchObject({ code: 3, body: { code: 'number-invalid' } });

    const approved = await installation.json(['check', body.id, body.code]);
    expect(approved).toMatchObject({ code: 0, body: { status: 'approved' } });
    // The greeting has an example of its own; what follows is the log.
    const log = server.stdout().slice(server.stdout().lastIndexOf('Send a code:')).split('\n').slice(4).join('\n');
    expect(log).toContain('dispatch accepted');
    expect(log).not.toContain(TO);
  });

  it('leaves a server of another installation alone', async () => {
    const other = await install();
    const server = await other.serve();
    const installation = await install({ PORT: other.environment['PORT'] ?? '' });
    const { stdout } = await installation.run(['send', TO]);
    expect(stdout).toContain('works on another store');
    expect(await inboxOf(server)).toEqual([]);
  });
});

describe('a provider that makes its own codes', () => {
  // It was not opened for a check, so that nobody could be approved from the command line.
  it('is asked about the code', async () => {
    const verify = await twilioVerifySimulator.start();
    open.push({ [Symbol.asyncDispose]: () => verify.close() });
    const installation = await install(twilioVerifySimulator.environment(verify.url));
    const { body } = await installation.json(['send', TO]);
    const code = codeIn(verify.messages[0]?.text);
    expect(await installation.run(['check', body.id, otherCode(code)])).toMatchObject({ code: 3 });
    expect(await installation.json(['check', body.id, code])).toMatchObject({ code: 0, body: { status: 'approved' } });
  });
});

describe('send through Twilio', () => {
  it('hands the text over and says by whom it was taken; in production the code is on the phone alone', async () => {
    const twilio = await simulator();
    const installation = await install(productionEnvironment(twilio));
    const { code, body, stdout } = await installation.json(['send', TO]);
    expect(code).toBe(0);
    expect(body).toMatchObject({ to: TO, provider: 'twilio', via: 'store' });
    expect(twilio.messages).toMatchObject([{ to: TO, fields: { From: '+15005550006' } }]);
    const received = codeIn(twilio.messages[0]?.text);
    expect(received).toMatch(/^\d{6}$/);
    expect(stdout).not.toContain(received);
    expect((await installation.run(['check', body.id, received])).code).toBe(0);

    const told = await installation.run(['send', '+998901234568']);
    expect(told.stdout).toMatch(/-- check ver_\S+ <code>$/m);
    expect(told.stdout).not.toMatch(/^ +Code /m);
    expect(told.stdout).not.toContain(codeIn(twilio.messages[1]?.text));

    const text = await installation.run(['send', TO, '--text', 'Your driver is here.']);
    expect(text.stdout).toContain('Taken by   twilio');
    expect(twilio.messages[2]?.text).toBe('Your driver is here.');
  });

  it('exits with 1 when the provider refuses, and passes on what it said', async () => {
    const twilio = await simulator();
    const installation = await install({ ...productionEnvironment(twilio), TWILIO_AUTH_TOKEN: 'not-the-token' });
    const { code, body, stderr } = await installation.json(['send', TO]);
    expect({ code, body }).toMatchObject({ code: 1, body: { code: 'delivery-failed' } });
    expect(stderr).toContain('twilio: account (20003)');
    expect(stderr).toContain('-- doctor');
    expect(stderr).not.toContain('not-the-token');
    expect(twilio.messages).toEqual([]);
  });

  it('exits with 3 when nobody can send to that number', async () => {
    const twilio = await simulator();
    twilio.behave('bad-number');
    const installation = await install(twilioEnvironment(twilio));
    const { code, body } = await installation.json(['send', TO]);
    expect({ code, body }).toMatchObject({ code: 3, body: { code: 'recipient-refused' } });
  });

  // A list of keys once took up the orphans of a server that was down, and texts went out.
  it('leaves a message that died on its way to the server, whatever other command runs first', async () => {
    const twilio = await simulator();
    const installation = await install(productionEnvironment(twilio));
    twilio.behave('drop-after-reading', 'stall');
    await fetch(`${twilio.url}/`).catch(() => {});
    const dying = installation.start(['send', TO]);
    await twilio.received(2);
    dying.kill('SIGKILL');
    await new Promise((resolve) => dying.once('close', resolve));
    const taken = twilio.messages.length;
    // As if the patience of fifteen seconds were over.
    const database = new DatabaseSync(join(installation.directory, 'data', 'countersign.db'));
    expect(database.prepare('UPDATE message SET due_at = 1 WHERE due_at IS NOT NULL').run().changes).toBe(1);
    database.close();

    expect((await installation.run(['keys', 'list'])).code).toBe(0);
    expect((await installation.run(['doctor'])).code).toBe(0);
    expect(twilio.messages).toHaveLength(taken);
    await installation.serve();
    await eventually(() => twilio.messages.length > taken || undefined);
  });
});
