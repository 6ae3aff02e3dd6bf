import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Installation, makeInstallation } from './cli.ts';

describe('command line', () => {
  let installation: Installation;
  beforeAll(async () => {
    installation = await makeInstallation();
  });
  afterAll(() => installation[Symbol.asyncDispose]());

  const commands = [
    'serve',
    'send',
    'check',
    'doctor',
    'keys create',
    'keys list',
    'keys revoke',
    'keys rotate-signing',
  ];

  it('lists every command in its help, and says the exit codes', async () => {
    const { code, stdout } = await installation.run(['help']);
    expect(code).toBe(0);
    for (const command of commands) expect(stdout).toContain(`\n  ${command} `);
    expect(stdout).toContain('0 done, 1 the operator must act, 2 wrong usage, 3 refused');
  });

  it('explains each command with --help, which does nothing else', async () => {
    const runs = await Promise.all(commands.map((command) => installation.run([...command.split(' '), '--help'])));
    for (const [index, { code, stdout, stderr }] of runs.entries()) {
      expect(stdout).toMatch(new RegExp(`^Usage: npm run -s countersign -- ${commands[index]}`));
      expect(stdout).toContain('--help');
      expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    }
    const { stdout } = await installation.run(['help', 'keys', 'revoke']);
    expect(stdout).toBe(runs[commands.indexOf('keys revoke')]?.stdout);
    const group = await installation.run(['keys', '--help']);
    expect(group).toMatchObject({ code: 0, stdout: expect.stringContaining('keys rotate-signing'), stderr: '' });
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
