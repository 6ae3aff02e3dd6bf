import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { nearestTo } from '../domain/nearest.ts';
import { CountersignError } from '../domain/problem.ts';
import { type Command, helpOf, readArguments } from './command.ts';
import { CliError, columns, exitCodes, print, printError, printJson, programName, UsageError } from './output.ts';

type Listed = { readonly positionals: string; readonly summary: string; readonly load: () => Promise<Command> };

/** Every command. A file is loaded when its command is called, so that none pays for another. */
const commands: Readonly<Record<string, Listed>> = {
  serve: {
    positionals: '',
    summary: 'start the server',
    load: async () => (await import('./serve.ts')).serve,
  },
  send: {
    positionals: '<number>',
    summary: 'send a code, or a text of your own',
    load: async () => (await import('./send.ts')).send,
  },
  check: {
    positionals: '<id> <code>',
    summary: 'check a code',
    load: async () => (await import('./check.ts')).check,
  },
  doctor: {
    positionals: '',
    summary: 'find out what is wrong, and what to do about it',
    load: async () => (await import('./doctor/doctor.ts')).doctor,
  },
  route: {
    positionals: '<number>',
    summary: 'show who would be tried for a number, and why not the others',
    load: async () => (await import('./route.ts')).route,
  },
  usage: {
    positionals: '',
    summary: 'show what was sent, delivered, approved and spent',
    load: async () => (await import('./usage.ts')).usage,
  },
  'shadow report': {
    positionals: '',
    summary: 'show how the answers of an old back end differ from ours',
    load: async () => (await import('./shadow.ts')).shadowReport,
  },
  migrate: {
    positionals: '--from sqlite:<path>',
    summary: 'move from the embedded database to PostgreSQL',
    load: async () => (await import('./migrate.ts')).migrate,
  },
  simulate: {
    positionals: '<provider>',
    summary: 'stand in for a provider on this machine',
    load: async () => (await import('./simulate.ts')).simulate,
  },
  'texts lint': {
    positionals: '',
    summary: 'look at every text: price, autofill, faults',
    load: async () => (await import('./texts.ts')).lintTexts,
  },
  costs: {
    positionals: '--country <cc>',
    summary: 'compare what providers cost',
    load: async () => (await import('./costs.ts')).costs,
  },
  'keys create': {
    positionals: '--app <app>',
    summary: 'make an API key and show it this once',
    load: async () => (await import('./keys.ts')).createKey,
  },
  'keys list': {
    positionals: '',
    summary: 'list the API keys',
    load: async () => (await import('./keys.ts')).listKeys,
  },
  'keys revoke': {
    positionals: '<id>',
    summary: 'make an API key worthless',
    load: async () => (await import('./keys.ts')).revokeKey,
  },
  'keys rotate-signing': {
    positionals: '',
    summary: 'sign tokens with a new key from now on',
    load: async () => (await import('./keys.ts')).rotateSigningKey,
  },
};

/** Runs a command line and leaves its exit code in `process.exitCode`. */
export async function main(args: readonly string[]): Promise<void> {
  try {
    process.exitCode = await run(args);
  } catch (error) {
    process.exitCode = report(error, args.includes('--json'));
  }
}

async function run(args: readonly string[]): Promise<number | undefined> {
  const [first = '', second = ''] = args;
  if (first === '--version' || first === '-v' || first === 'version') {
    print(readVersion());
    return exitCodes.done;
  }
  if (first === 'help' || first === '--help' || first === '-h') return printHelp(args.slice(1));
  if (first === '') throw new UsageError(`Say what to do:\n\n${overview('')}\n`);
  const name = nameOf(first, second);
  if (name === undefined) {
    if (isGroup(first) && (second === '--help' || second === '-h')) return printHelp([first]);
    throw unknownCommand(first, second);
  }
  const rest = args.slice(name.split(' ').length);
  const options = rest.slice(0, rest.indexOf('--') === -1 ? rest.length : rest.indexOf('--'));
  if (options.includes('--help') || options.includes('-h')) return printHelp(name.split(' '));
  const command = await load(name);
  const { values, positionals } = readArguments(command, rest);
  return command.run(values, positionals);
}

async function printHelp(words: readonly string[]): Promise<number> {
  const [first = '', second = ''] = words;
  if (first === '') {
    print(`Countersign proves that a person holds a phone number.

Usage: ${programName} <command> [options]

${overview('')}

  <command> --help   what a command takes
  --version          the version

Configuration comes from the environment, a .env file and countersign.config.ts of the working directory.
Exit codes: 0 done, 1 the operator must act, 2 wrong usage, 3 refused, 70 a bug.`);
    return exitCodes.done;
  }
  const name = nameOf(first, second);
  if (name !== undefined) {
    print(helpOf(await load(name)));
    return exitCodes.done;
  }
  if (!isGroup(first)) throw unknownCommand(first, second);
  print(overview(first));
  return exitCodes.done;
}

/** @param group the first word of the commands to list; all of them when empty */
function overview(group: string): string {
  return columns(
    Object.entries(commands)
      .filter(([name]) => group === '' || name.startsWith(`${group} `))
      .map(([name, { positionals, summary }]) => [`  ${name} ${positionals}`.trimEnd(), summary]),
  );
}

function nameOf(first: string, second: string): string | undefined {
  return [`${first} ${second}`, first].find((name) => Object.hasOwn(commands, name));
}

function isGroup(word: string): boolean {
  return Object.keys(commands).some((name) => name.startsWith(`${word} `));
}

function unknownCommand(first: string, second: string): UsageError {
  const names = Object.keys(commands);
  if (!isGroup(first)) {
    const words = [...new Set(names.map((name) => name.split(' ')[0] ?? '')), 'help'];
    return new UsageError(`There is no command '${first}'${nearestTo(first, words)}`);
  }
  if (second === '' || second.startsWith('-'))
    return new UsageError(`Say what to do with ${first}:\n\n${overview(first)}\n`, first);
  const seconds = names.filter((name) => name.startsWith(`${first} `)).map((name) => name.slice(first.length + 1));
  return new UsageError(`There is no command '${first} ${second}'${nearestTo(second, seconds)}`, first);
}

async function load(name: string): Promise<Command> {
  const listed = commands[name];
  if (listed === undefined) throw new RangeError(`no command ${name}`);
  return listed.load();
}

/** What a person can act on is its message; only a bug shows where it happened. */
function report(error: unknown, asJson: boolean): number {
  if (error instanceof CliError) {
    printError(error.message);
    if (asJson)
      printJson({ code: error instanceof UsageError ? 'request-invalid' : 'operator-needed', detail: error.message });
    return error.exitCode;
  }
  if (error instanceof CountersignError) {
    printError(error.message);
    const faults = 'faults' in error ? { faults: error.faults } : {};
    if (asJson) printJson({ code: error.code, detail: error.message, ...faults });
    return exitCodes.operator;
  }
  printError(`this is a bug: ${error instanceof Error ? error.stack : String(error)}`);
  if (asJson) printJson({ code: 'internal-error', detail: 'This is a bug; stderr shows where it happened.' });
  return exitCodes.bug;
}

/** `package.json` is two floors up, in a clone and in the published package alike. */
function readVersion(): string {
  const file = join(import.meta.dirname, '..', '..', 'package.json');
  return (JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version;
}
