import { parseArgs } from 'node:util';

export const sections = [
  'pairs',
  'lone',
  'half-load',
  'ready',
  'growth',
  'memory',
  'round-trips',
  'nodes',
  'consumer',
] as const;
export type Section = (typeof sections)[number];

export type BenchOptions = {
  readonly sections: ReadonlySet<Section>;
  readonly seconds: number;
  readonly warmUpSeconds: number;
  readonly rounds: number;
  readonly connections: readonly number[];
  readonly store: Store;
  /** Whose CPU the store's server has, see `store-servers.ts`. */
  readonly placements: readonly [Placement, ...Placement[]];
  /** Verifications in the full store of `growth`. */
  readonly rows: number;
  /** Verifications at the end of `memory`, which all go through the server. */
  readonly memoryRows: number;
  readonly serverEntry: string | undefined;
  readonly directory: string | undefined;
  readonly jsonFile: string | undefined;
};

const stores = ['sqlite', 'postgres', 'redis'] as const;
export type Store = (typeof stores)[number];

/** `other`: not the server's, so the load's. */
const placements = ['other', 'same'] as const;
export type Placement = (typeof placements)[number];

/** Which sections a store has besides those that every store has. */
const sectionsOf: Readonly<Record<Store, readonly Section[]>> = {
  sqlite: [],
  postgres: ['round-trips', 'nodes'],
  redis: ['round-trips', 'nodes', 'consumer'],
};
const special: readonly Section[] = ['round-trips', 'nodes', 'consumer'];
const usual: readonly Section[] = ['pairs', 'lone', 'half-load', 'ready'];

const defaultRows: Readonly<Record<Store, number>> = { sqlite: 1_000_000, postgres: 10_000_000, redis: 10_000_000 };

export const usage = `npm run bench -- [options]

  --quick              about 20 seconds: section pairs, one short round
  --only LIST          sections, of ${sections.join(',')}
                       or all. Without it all that the store has but growth and memory, which take minutes:
                       ${usual.join(',')}; with servers round-trips,nodes too, and with redis consumer
  --seconds N          measured time of each run (5)
  --warm-up N          time before it that is not counted (2)
  --rounds N           interleaved rounds, of which the median is told (3)
  --connections LIST   for section pairs (1,32,128)
  --store NAME         ${stores.join(', ')}: real servers are started, and ended when the bench ends
  --store-cpu WHERE    ${placements.join(' or ')}: whether the store's server is on the CPU of the load or of the server under
                       test, or both with a comma (postgres: other; redis: section pairs both, the rest other)
  --rows N             verifications in the full store of growth (10000000, for sqlite 1000000) and of memory (1000000)
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
      'store-cpu': { type: 'string' },
      rows: { type: 'string' },
      directory: { type: 'string' },
      server: { type: 'string' },
      json: { type: 'string' },
    },
  });
  if (values.help) return 'help';
  const { quick } = values;
  const store = oneOf(stores, values.store, '--store');
  const storeCpu = values['store-cpu'] ?? (store === 'redis' ? 'other,same' : 'other');
  const [first = 'other', ...more] = storeCpu.split(',').map((name) => oneOf(placements, name, '--store-cpu'));
  return {
    sections: new Set(chooseSections(values.only, store, quick)),
    seconds: positive(values.seconds, quick ? 1.5 : 5, '--seconds'),
    warmUpSeconds: positive(values['warm-up'], quick ? 1 : 2, '--warm-up'),
    rounds: positive(values.rounds, quick ? 1 : 3, '--rounds'),
    connections: values.connections.split(',').map((count) => positive(count, 1, '--connections')),
    store,
    placements: [first, ...more],
    rows: positive(values.rows, defaultRows[store], '--rows'),
    memoryRows: positive(values.rows, 1_000_000, '--rows'),
    serverEntry: values.server,
    directory: values.directory,
    jsonFile: values.json,
  };
}

function chooseSections(only: string | undefined, store: Store, quick: boolean): readonly Section[] {
  if (only === undefined) return quick ? ['pairs'] : [...usual, ...sectionsOf[store]];
  const has = (section: Section): boolean => !special.includes(section) || sectionsOf[store].includes(section);
  if (only === 'all') return sections.filter(has);
  const chosen = only.split(',').map((name) => oneOf(sections, name, '--only'));
  const missing = chosen.find((section) => !has(section));
  if (missing !== undefined) throw new Error(`--only: the store ${store} has no section ${missing}`);
  return chosen;
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
