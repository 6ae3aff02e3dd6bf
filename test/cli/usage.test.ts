import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Installation, makeInstallation, type Run } from './cli.ts';

describe('command line', () => {
  const commands = [
    'serve',
    'shadow report',
    'send',
    'check',
    'doctor',
    'route',
    'usage',
    'simulate',
    'texts lint',
    'costs',
    'keys create',
    'keys list',
    'keys revoke',
    'keys rotate-signing',
    'migrate',
  ];

  let installation: Installation;
  let helps: ReadonlyMap<string, Run>;
  beforeAll(async () => {
    installation = await makeInstallation();
    const runs = commands.map(
      async (command) => [command, await installation.run([...command.split(' '), '--help'])] as const,
    );
    helps = new Map(await Promise.all(runs));
  });
  afterAll(() => installation[Symbol.asyncDispose]());

  it('lists every command in its help, and says the exit codes', async () => {
    const { code, stdout } = await installation.run(['help']);
    expect(code).toBe(0);
    for (const command of commands) expect(stdout).toContain(`\n  ${command} `);
    expect(stdout).toContain('0 done, 1 the operator must act, 2 wrong usage, 3 refused');
  });

  it('explains each command with --help, which does nothing else', async () => {
    for (const [command, { code, stdout, stderr }] of helps) {
      expect(stdout).toMatch(new RegExp(`^Usage: npm run -s countersign -- ${command}`));
      expect(stdout).toContain('--help');
      expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    }
    const { stdout } = await installation.run(['help', 'keys', 'revoke']);
    expect(stdout).toBe(helps.get('keys revoke')?.stdout);
    const group = await installation.run(['keys', '--help']);
    expect(group).toMatchObject({ code: 0, stdout: expect.stringContaining('keys rotate-signing'), stderr: '' });
  });

  it('is in docs/cli.md, command for command and option for option', async () => {
    const page = readFileSync(new URL('../../docs/cli.md', import.meta.url), 'utf8');
    const sections = new Map(page.split('\n## ').map((text) => [text.split('\n')[0] ?? '', text]));
    const { stdout } = await installation.run(['help']);
    const listed = [...stdout.matchAll(/^ {2}([a-z]+(?: [a-z][a-z-]*)?) /gm)].map(([, name = '']) => name.trim());
    expect(listed.toSorted()).toEqual(commands.toSorted());
    for (const command of listed) {
      const [, first = '', second] = /^(\S+)(?: (\S+))?$/.exec(command) ?? [];
      const text = [...sections].find(
        ([heading]) => heading.split(' ')[0] === first && (second === undefined || heading.includes(second)),
      )?.[1];
      expect(`${command}: ${text === undefined ? 'no section' : 'a section'}`).toBe(`${command}: a section`);
      const options = (helps.get(command)?.stdout.match(/^ {2}--[a-z-]+/gm) ?? []).map((option) => option.trim());
      const missing = options.filter(
        (option) => option !== '--help' && !text?.includes(`\`${option}`) && !text?.includes(`${option} `),
      );
      expect({ command, missing }).toEqual({ command, missing: [] });
    }
  });

  it('prints the version of the package', async () => {
    const file = new URL('../../package.json', import.meta.url);
    const { version } = JSON.parse(readFileSync(file, 'utf8')) as { version: string };
    expect(await installation.run(['--version'])).toEqual({ code: 0, stdout: `${version}\n`, stderr: '' });
  });

  it.each([
    [['sned', '+998901234567'], "There is no command 'sned'; did you mean send?"],
    [['keys', 'revok'], "There is no command 'keys revok'; did you mean revoke?"],
    [['keys'], 'Say what to do with keys:'],
    [[], 'Say what to do:'],
    [['send', '+998901234567', '--chanel', 'sms'], 'There is no option --chanel; did you mean --channel?'],
    [['send', '+998901234567', '--app', 'defualt'], "There is no app 'defualt'; did you mean default?"],
    [['send', '+998901234567', '--text', 'hello', '--purpose', 'login'], '--locale and --purpose are for a code'],
    [['send', '--app'], "Option '--app <value>' argument missing"],
    [['send'], 'the number is missing'],
    [
      ['check', '--to', '+998901234567', 'ver_01jd3n8v4kq2xw7c9r5t6y0abz', '123456'],
      "'123456' is one argument too many",
    ],
    [['keys', 'revoke', 'cs_RxuDuyH0ghgKMhdmNuWBmuyK2aH7V_8j'], 'That is a key, not its id'],
    [['texts', 'lnt'], "There is no command 'texts lnt'; did you mean lint?"],
    [['route'], 'the number is missing'],
    [['route', '+998901234567', '--channel', 'vioce'], "There is no channel 'vioce'; did you mean voice?"],
    [['usage', '--by', 'contry'], "--by takes no 'contry'; did you mean country?"],
    [['usage', '--from', '2026-02-30'], "--from is a day like 2026-11-20, not '2026-02-30'"],
    [['usage', '--to', 'today'], "--to is a day like 2026-11-20, not 'today'"],
    [['usage', '--from', '2026-11-02', '--to', '2026-11-01'], 'from is after to'],
    [['usage', '--app', 'defualt'], "There is no app 'defualt'; did you mean default?"],
    [['texts', 'lint', '--app', 'defualt'], "There is no app 'defualt'; did you mean default?"],
    [['texts', 'lint', '--locale', 'xx-YY'], "There is no text in 'xx-YY'"],
    [['doctor', '--provider', 'eskiz'], '--provider goes with --send'],
    [['doctor', '--send', '+998901234567', '--provider', 'eskiz'], "There is no provider 'eskiz' configured"],
    [['simulate'], 'the provider (eskiz, '],
    [['simulate', 'eskis'], "There is no simulator of 'eskis'; did you mean eskiz?\nThere are: eskiz, playmobile, "],
    [['simulate', 'nobody-at-all'], "There is no simulator of 'nobody-at-all'; there are: eskiz, playmobile, "],
    [
      ['simulate', 'eskiz', '--fault', 'stal'],
      "The simulator of eskiz has no fault 'stal'; did you mean stall?\nThere are: ",
    ],
    [['simulate', 'eskiz', '--port', '99999'], "--port is a whole number from 0 to 65535, not '99999'"],
    [['simulate', 'eskiz', '--report-url', 'here'], '--report-url is an address that starts with'],
    [['serve', 'now'], "'now' is one argument too many"],
  ])('refuses %j with exit code 2 and says what is wrong', async (args, message) => {
    const { code, stdout, stderr } = await installation.run(args);
    expect(stderr).toContain(`countersign: ${message}`);
    expect(stderr).toMatch(/See npm run -s countersign -- .*--help\n$/);
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
  });

  it('says a wrong use to a program in JSON too', async () => {
    const { code, body } = await installation.json(['send']);
    expect(code).toBe(2);
    expect(body).toMatchObject({ code: 'request-invalid', detail: expect.stringContaining('the number is missing') });
  });
});
