import { parseArgs } from 'node:util';

export const sections = ['pairs', 'lone', 'half-load', 'ready', 'growth', 'memory'] as const;
export type Section = (typeof sections)[number];

export type BenchOptions = {
  readonly sections: ReadonlySet<Section>;
  readonly seconds: number;
  readonly warmUpSeconds: number;
  readonly rounds: number;
  readonly connections: readonly number[];
  readonly store: Store;
  /** Verifications in the full store of `growth` and at the end of `memory`. */
  readonly rows: number;
  readonly serverEntry: string | undefined;
  readonly directory: string | undefined;
  readonly jsonFile: string | undefined;
};

const stores = ['sqlite'] as const;
export type Store = (typeof stores)[number];

export const usage = `npm run bench -- [options]

  --quick              about 20 seconds: section pairs, one short round
  --only LIST          sections, of ${sections.join(',')} or all
                       (without it: pairs,lone,half-load,ready; the last two take minutes)
  --seconds N          measured time of each run (5)
  --warm-up N          time before it that is not counted (2)
  --rounds N           interleaved rounds, of which the median is told (3)
  --connections LIST   for section pairs (1,32,128)
  --store NAME         ${stores.join(', ')}
  --rows N             verifications in the full store of growth and memory (1000000)
  --directory DIR      where the data goes: the disk that is measured (the system's temporary directory)
  --server FILE        CLI entry of the server under test, e.g. of another checkout (src/cli/main.ts)
  --json FILE          writes every figure of every round`;

/** @throws Error with a text for the person at the keyboard */
export function readOptions(args: readonly string[]): BenchOptions | 'help' {
  const { values } = parseArgs({
    args: [...args],
    options: {
      quick: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
      only: { type: 'string' },
      seconds: { type: 'string' },
      'warm-up': { type: 'string' },
      rounds: { type: 'string' },
      connections: { type: 'string', default: '1,32,128' },
      store: { type: 'string', default: 'sqlite' },
      rows: { type: 'string' },
      directory: { type: 'string' },
      server: { type: 'string' },
      json: { type: 'string' },
    },
  });
  if (values.help) return 'help';
  const { quick } = values;
  const only = values.only ?? (quick ? 'pairs' : 'pairs,lone,half-load,ready');
  return {
    sections: new Set(only === 'all' ? sections : only.split(',').map((name) => oneOf(sections, name, '--only'))),
    seconds: positive(values.seconds, quick ? 1.5 : 5, '--seconds'),
    warmUpSeconds: positive(values['warm-up'], quick ? 1 : 2, '--warm-up'),
    rounds: positive(values.rounds, quick ? 1 : 3, '--rounds'),
    connections: values.connections.split(',').map((count) => positive(count, 1, '--connections')),
    store: oneOf(stores, values.store, '--store'),
    rows: positive(values.rows, 1_000_000, '--rows'),
    serverEntry: values.server,
    directory: values.directory,
    jsonFile: values.json,
  };
}

function positive(text: string | undefined, otherwise: number, name: string): number {
  if (text === undefined) return otherwise;
  const value = Number(text.replaceAll('_', ''));
  if (!(value > 0)) throw new Error(`${name} must be a number above 0, not '${text}'`);
  return value;
}

function oneOf<Name extends string>(names: readonly Name[], given: string, option: string): Name {
  const found = names.find((name) => name === given);
  if (found === undefined) throw new Error(`${option}: '${given}' is none of ${names.join(', ')}`);
  return found;
}
