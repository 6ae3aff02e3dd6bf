import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { OutgoingMessage } from '../../src/domain/provider.ts';
import { defaultTexts } from '../../src/domain/texts.ts';
import { createHttpClient } from '../../src/provider-kit/http-client.ts';
import { smtp } from '../../src/providers/smtp.ts';
import type { Fault, Simulator } from '../../src/simulators/simulator-kit.ts';
import { smtpSimulator } from '../../src/simulators/smtp.ts';
import { benchOf, describeProvider, outgoingMessage } from '../provider-kit/provider-suite.ts';

const settingsAt = (baseUrl: string) => ({
  host: 'mail.example.com',
  user: 'test-user',
  password: 'test-smtp-password',
  from: 'codes@example.com',
  baseUrl,
});
const context = { now: Date.now, http: createHttpClient(Date.now) };
const email = { channel: 'email', email: 'ali@example.org' } as const;

describeProvider('smtp', {
  definition: smtp,
  open: async () => benchOf(await smtpSimulator.start()),
  settings: settingsAt,
  wrongSettings: (url) => ({ ...settingsAt(url), password: 'wrong-smtp-password' }),
  secrets: ['ali@example.org', Buffer.from('\u0000test-user\u0000test-smtp-password').toString('base64')],
  message: email,
  cannot: {
    'refuse-inside-2xx': 'a server that says 2xx has taken the mail',
    balance: 'a mail server has no balance',
    'no-id': 'the id is made here',
    redirect: 'SMTP has no redirects',
  },
  reasons: {
    // A server speaks first. What greets as no mail server does, or not at all, is told nothing.
    garbage: ['unavailable'],
    html: ['unavailable'],
    empty: ['unavailable'],
    'invalid-utf8': ['unavailable'],
    huge: ['unavailable'],
    stall: ['unavailable'],
    // Whatever a server refuses it has not taken, by RFC 5321.
    'server-error': ['unavailable'],
  },
  hasProbe: true,
  reports: 'none',
});

describe('smtp', () => {
  let simulator: Simulator;

  beforeEach(async () => {
    simulator = await smtpSimulator.start();
  });
  afterEach(() => simulator.close());

  type Settings = Parameters<typeof smtp.create>[0];
  const open = (over: Partial<Settings> = {}) => smtp.create({ ...settingsAt(simulator.url), ...over }, context);
  const send = async (over: Partial<OutgoingMessage> = {}, settings: Partial<Settings> = {}) =>
    (await open(settings)).send(outgoingMessage({ ...email, ...over }), AbortSignal.timeout(5000));
  const answer = (status: number, body: string): Fault => ({ kind: 'answer', answer: { status, body } });

  describe('the mail', () => {
    it('has the text, and the code to be seen at once', async () => {
      const text = 'Acme: your code is 830417.\nValid for 5 min. & <b>';
      expect(await send({ text })).toEqual({
        kind: 'accepted',
        providerMessageId: 'msg_00000000000000000000000001@example.com',
      });
      expect(simulator.messages).toMatchObject([
        {
          id: '<msg_00000000000000000000000001@example.com>',
          to: 'ali@example.org',
          text,
          fields: { mailFrom: 'codes@example.com', from: 'Acme <codes@example.com>', subject: 'Acme: your code' },
        },
      ]);
      expect(simulator.messages[0]?.fields['html']).toBe(
        '<!doctype html><html lang="en"><body><p dir="auto">Acme: your code is ' +
          '<strong style="font-size:1.5em" dir="ltr">830417</strong>' +
          '.<br>Valid for 5 min. &amp; &lt;b&gt;</p></body></html>',
      );
      expect(simulator.requests[0]?.body).toMatch(/^Auto-Submitted: auto-generated\r$/m);
    });

    it('has no code in its head, which servers write into their logs', async () => {
      await Promise.all(Object.keys(defaultTexts).map((locale) => send({ locale })));
      expect(simulator.requests).toHaveLength(Object.keys(defaultTexts).length);
      for (const { body } of simulator.requests) expect(body.split('\r\n\r\n')[0]).not.toContain('830417');
    });

    it('has a subject in each language that has a text', async () => {
      const locales = Object.keys(defaultTexts).filter((locale) => locale !== 'en');
      await Promise.all(locales.map((locale) => send({ locale })));
      const subjects = simulator.messages.map(({ fields }) => String(fields['subject']));
      expect(subjects).toHaveLength(locales.length);
      for (const subject of subjects) expect(subject).toMatch(/^Acme: (?!your code$)\S/);
      await send({ locale: 'uz-Cyrl-UZ' });
      await send({ locale: 'sw' });
      await send({ locale: 'RU-ru' });
      const more = simulator.messages.slice(-3).map(({ fields }) => fields['subject']);
      expect(more).toEqual(['Acme: tasdiqlash kodi', 'Acme: your code', 'Acme: ваш код']);
    });

    it('carries every script, long lines and lines that begin with a dot', async () => {
      const text = `Ваш код: 830417\n.\n..\n${'long '.repeat(300)}\n你好 🔑 رمزك`;
      await send({ text, brand: 'Ромашка "и" <Ко>', locale: 'ru' });
      expect(simulator.messages[0]?.text).toBe(text);
      expect(simulator.messages[0]?.fields['subject']).toBe('Ромашка "и" <Ко>: ваш код');
    });

    it('of a message without a code has the brand for a subject', async () => {
      const { code: _, ...custom } = outgoingMessage({ ...email, text: 'Your driver is here.' });
      await (await open()).send(custom, AbortSignal.timeout(5000));
      expect(simulator.messages[0]).toMatchObject({ text: 'Your driver is here.', fields: { subject: 'Acme' } });
      expect(simulator.messages[0]?.fields['html']).toContain('<p dir="auto">Your driver is here.</p>');
    });

    it.each([
      ['Codes <codes@example.com>', 'Codes <codes@example.com>'],
      ['"Codes & Co" <codes@example.com>', '"Codes & Co" <codes@example.com>'],
      ['<codes@example.com>', 'Acme <codes@example.com>'],
    ])('is from %s', async (from, expected) => {
      await send({}, { from });
      expect(simulator.messages[0]?.fields).toMatchObject({ from: expected, mailFrom: 'codes@example.com' });
    });

    it('lets nothing that it is given add a line to its head, or a recipient', async () => {
      await send({ brand: 'Acme\r\nBcc: eve@example.net', email: 'ali@example.org' });
      expect(simulator.requests[0]?.body).not.toMatch(/^Bcc:/im);
      for (const address of ['ali@example.org\r\nRCPT TO:<eve@example.net>', 'ali@example.org, eve@example.net']) {
        await send({ email: address });
      }
      expect(simulator.messages.map(({ to }) => to).join()).not.toContain('eve');
    });

    it('is not sent without an address, or a login that is not wanted', async () => {
      const { email: _, ...nowhere } = outgoingMessage(email);
      const outcome = await (await open()).send(nowhere, AbortSignal.timeout(5000));
      expect(outcome).toEqual({ kind: 'failed', reason: 'coverage', code: 'no-address' });
      const { user: __, password: ___, ...anonymous } = settingsAt(simulator.url);
      const provider = await smtp.create(anonymous, context);
      const refused = await provider.send(outgoingMessage(email), AbortSignal.timeout(5000));
      expect(refused).toMatchObject({ kind: 'failed', reason: 'account', code: '530' });
      expect(simulator.messages).toEqual([]);
    });
  });

  describe('refusals', () => {
    it.each([
      ['bad-number', 'recipient', '550 5.1.1'],
      ['throttle', 'throttled', '450 4.7.1'],
      ['credentials', 'account', '535 5.7.8'],
      ['content', 'content', '554 5.7.1'],
      ['server-error', 'unavailable', '451 4.3.0'],
    ] as const)('%s is read as %s, with the server’s code', async (fault, reason, code) => {
      simulator.behave(fault);
      expect(await send()).toEqual({ kind: 'failed', reason, code });
      expect(simulator.messages).toEqual([]);
    });

    /** A server that says what it is told to, word for word, and shows how far it was believed. */
    async function against(replies: Readonly<Record<string, string>>) {
      const commands: string[] = [];
      const server = createServer((socket) => {
        let isData = false;
        let rest = '';
        const say = (command: string, usual: string) => socket.write(`${replies[command] ?? usual}\r\n`);
        socket.on('error', () => {});
        say('CONN', '220 ready');
        socket.on('data', (chunk) => {
          const lines = (rest + chunk.toString()).split('\r\n');
          rest = lines.pop() ?? '';
          for (const line of lines) {
            if (isData && line !== '.') continue;
            const command = isData ? 'END' : (/^(MAIL|RCPT|\w+)/.exec(line)?.[0] ?? '');
            commands.push(command);
            isData = command === 'DATA' && replies['DATA'] === undefined;
            say(
              command,
              command === 'EHLO' ? '250 AUTH PLAIN' : command === 'AUTH' ? '235 ok' : isData ? '354 go' : '250 ok',
            );
          }
        });
      });
      server.listen(0, '127.0.0.1');
      await once(server, 'listening');
      const provider = await smtp.create(
        settingsAt(`smtp://127.0.0.1:${(server.address() as AddressInfo).port}`),
        context,
      );
      const outcome = await provider.send(outgoingMessage(email), AbortSignal.timeout(5000));
      server.close();
      return { outcome, commands };
    }

    // One line per row of the table, and what a server may say in each of its steps.
    it.each([
      ['CONN', '421 too many connections', 'unavailable', '421'],
      ['CONN', '554 5.7.1 your address is on a list', 'account', '554 5.7.1'],
      ['AUTH', '454 4.7.0 try again', 'throttled', '454 4.7.0'],
      ['AUTH', '454 temporary failure', 'unavailable', '454'],
      ['AUTH', '534 5.7.9 application-specific password required', 'account', '534 5.7.9'],
      ['MAIL', '530 5.7.0 must issue STARTTLS first', 'account', '530 5.7.0'],
      ['MAIL', '550 5.7.60 not allowed to send as this sender', 'account', '550 5.7.60'],
      ['MAIL', '552 5.3.4 too large', 'content', '552 5.3.4'],
      ['MAIL', '452 4.3.1 disk full', 'unavailable', '452 4.3.1'],
      ['RCPT', '550 no such user', 'recipient', '550'],
      ['RCPT', '551-5.1.6 moved\r\n551 5.1.6 away', 'recipient', '551 5.1.6'],
      ['RCPT', '553 5.1.3 bad address', 'recipient', '553 5.1.3'],
      ['RCPT', '550 5.7.1 relaying denied', 'blocked', '550 5.7.1'],
      ['RCPT', '552 5.2.2 mailbox full', 'unavailable', '552 5.2.2'],
      ['RCPT', '554 refused', 'blocked', '554'],
      ['RCPT', '451 4.7.1 greylisted', 'throttled', '451 4.7.1'],
      ['RCPT', '530 log in first', 'account', '530'],
      ['DATA', '554 no', 'content', '554'],
      ['END', '550 5.7.1 spam', 'content', '550 5.7.1'],
      ['END', '552 too large', 'content', '552'],
      ['END', '451 try later', 'unavailable', '451'],
    ])('%s: %s', async (command, reply, reason, code) => {
      const { outcome, commands } = await against({ [command]: reply });
      expect(outcome).toEqual({ kind: 'failed', reason, code });
      if (command !== 'CONN') expect(commands.filter((each) => each !== 'QUIT').at(-1)).toBe(command);
    });

    it.each(['250 2.0.0 Ok: queued as 4F2', '250 ok'])('takes a mail for sent after %s', async (reply) => {
      expect((await against({ END: reply })).outcome).toMatchObject({ kind: 'accepted' });
    });
  });

  describe('a mail of which nobody knows', () => {
    it.each([
      ['a page', answer(0, '<!doctype html>')],
      ['half an answer', answer(0, '{"id":"0')],
      ['no number', answer(0, 'ok')],
      ['a code that is none', answer(999, 'what')],
      ['the end of the connection', 'drop-after-reading'],
    ] as const)('is uncertain after %s', async (_name, fault) => {
      simulator.behave(fault);
      expect(await send()).toMatchObject({ kind: 'failed', reason: 'uncertain' });
      expect(simulator.messages).toHaveLength(1);
    });

    it('is uncertain when its time is over before the answer', async () => {
      simulator.behave('stall-in-body');
      const provider = await open();
      const attempt = new AbortController();
      const outcome = provider.send(outgoingMessage(email), attempt.signal);
      await simulator.received(1);
      attempt.abort();
      expect(await outcome).toEqual({ kind: 'failed', reason: 'uncertain', code: 'aborted' });
    });

    it('is surely not sent when its time is over before the greeting', async () => {
      simulator.behave('stall');
      const outcome = await (await open()).send(outgoingMessage(email), AbortSignal.timeout(100));
      expect(outcome).toEqual({ kind: 'failed', reason: 'unavailable', code: 'timeout' });
    });
  });

  it('refuses a connection that cannot be encrypted, before it says who it is', async () => {
    const { port } = new URL(simulator.url);
    const { baseUrl: _, ...real } = { ...settingsAt(''), host: '127.0.0.1', port };
    for (const secure of ['starttls', 'tls'] as const) {
      const provider = await smtp.create({ ...real, secure }, context);
      const outcome = await provider.send(outgoingMessage(email), AbortSignal.timeout(5000));
      expect(outcome, secure).toMatchObject({ kind: 'failed', reason: 'unavailable' });
      const probed = await provider.probe?.(AbortSignal.timeout(5000));
      expect(probed, secure).toMatchObject({ kind: 'failed', fix: expect.stringContaining('SMTP_SECURE') });
    }
    expect(simulator.messages).toEqual([]);
    const plain = await smtp.create({ ...real, secure: 'none' }, context);
    expect(await plain.send(outgoingMessage(email), AbortSignal.timeout(5000))).toMatchObject({ kind: 'accepted' });
  });

  describe('probe', () => {
    const probe = async (settings: Partial<Settings> = {}) => (await open(settings)).probe?.(AbortSignal.timeout(5000));

    it('logs in, and sends nothing', async () => {
      expect(await probe()).toEqual({ kind: 'ready' });
      await simulator.received(1);
      expect(simulator.messages).toEqual([]);
    });

    it('says what to do', async () => {
      expect(await probe({ password: 'wrong' })).toMatchObject({ fix: expect.stringContaining('app password') });
      simulator.behave('html');
      expect(await probe()).toMatchObject({ fix: expect.stringContaining('not a mail server') });
      expect(await probe({ baseUrl: 'smtp://127.0.0.1:1' })).toMatchObject({
        code: 'ECONNREFUSED',
        fix: expect.stringContaining('SMTP_HOST'),
      });
    });
  });

  describe('settings', () => {
    const good = settingsAt('smtp://127.0.0.1:2525');
    const { password: _, ...noPassword } = good;

    it.each([
      ['a name with the address', { ...good, from: 'Acme <codes@example.com>' }],
      ['no login', { host: 'relay', from: 'codes@example.com' }],
    ])('are good with %s', (_name, settings) => {
      expect(smtp.faults?.(settings, 'providers.smtp')).toEqual([]);
    });

    it.each([
      ['SMTP_PASSWORD', noPassword],
      ['SMTP_FROM', { ...good, from: 'Acme' }],
      ['SMTP_FROM', { ...good, from: 'a@example.com, b@example.com' }],
      ['SMTP_FROM', { ...good, from: 'Acme\r\nBcc: x <codes@example.com>' }],
      ['SMTP_BASE_URL', { ...good, baseUrl: 'http://127.0.0.1:2525' }],
      ['SMTP_BASE_URL', { ...good, baseUrl: 'smtp://127.0.0.1' }],
    ])('have one fault, which names %s', (name, settings) => {
      expect(smtp.faults?.(settings, 'providers.smtp')).toEqual([expect.stringContaining(name)]);
    });
  });
});
