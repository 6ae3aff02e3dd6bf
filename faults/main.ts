// `npm run faults`: every provider with every fault of its vendor, and a dead provider under load; with `--nodes`, many nodes whose
// servers fail. docs/reliability.md says what must hold. Tables go to stdout, progress to stderr.
import { readFileSync, writeFileSync } from 'node:fs';
import { availableParallelism, loadavg } from 'node:os';
import { parseArgs } from 'node:util';
import { providerDefinitions } from '../src/providers/index.ts';
import { judge, judgeLoad, type LoadObservation, type Observation } from './judge.ts';
import { observeRound, observeWay, ways } from './load.ts';
import { fullPace, quickPace } from './nodes/observe.ts';
import { NODES_HEADING, nodesSection, nodesTables } from './nodes/page.ts';
import { type Choice, chooseFaults, observeNodes } from './nodes/run.ts';
import { loadTables, pageOf, pairTables } from './page.ts';
import { observePairs, unmatched } from './pairs.ts';

const usage = `npm run faults -- [options]

  --quick        fewer starts in the second part, whose milliseconds are then shown and not judged: for CI
  --write        writes docs/reliability.md, the part of it that was measured
  --nodes        many nodes on one store, and faults of nodes, servers and networks
  --store STORE  of these, only on this one: postgres, or redis in front of it; may be repeated
  --fault FAULT  of these, only this one; may be repeated
  --rounds N     of these, each so often`;
const page = new URL('../docs/reliability.md', import.meta.url);

const { quick, write, nodes } = readOptionsOrExit();
// The operator's own variables would win over the simulators' addresses.
for (const name of Object.keys(process.env))
  if (!/^(PATH|HOME|TMPDIR|TEMP|TMP|SYSTEMROOT|POSTGRES_BIN|REDIS_SERVER)$/i.test(name)) delete process.env[name];
const failures: string[] = [];
process.on('uncaughtException', (error) => failures.push(`thrown, and caught by nobody: ${error.stack ?? error}`));

const today = new Date().toISOString().slice(0, 10);
const load = loadavg()[0]?.toFixed(1);
const command = ['npm run faults', nodes || quick ? '--' : '', nodes ? '--nodes' : '', quick ? '--quick' : ''];
const conditions = `Measured on ${today} with \`${command.filter(Boolean).join(' ')}\`, Node.js ${process.version}, ${process.platform}, ${availableParallelism()} cores; load average ${load} when it began.`;
console.log(conditions);

if (nodes !== undefined) await runNodes(nodes);

const begun = performance.now();
const observed = await observePairs((done, all) => {
  if (done % 50 === 0 || done === all) console.error(`  ${done} of ${all} pairs`);
});
for (const id of unmatched(providerDefinitions.map((definition) => definition.id)))
  failures.push(`${id}: there is no simulator of it`);
for (const seen of observed) failures.push(...judge(seen).map((what) => `${nameOf(seen)}: ${what}`));
console.log(`\n${pairTables(observed)}`);
console.error(`  ${observed.length} pairs in ${((performance.now() - begun) / 1000).toFixed(0)} s`);

const loads: LoadObservation[] = [];
for (const way of ways) {
  console.error(`  a provider that is dead: ${way} …`);
  const seen = await (quick ? observeRound(way, 250) : observeWay(way, 1000, (text) => console.error(text)));
  loads.push(seen);
  failures.push(...judgeLoad(seen, !quick).map((what) => `under load, ${way}: ${what}`));
}
console.log(`\n${loadTables(loads)}`);

if (write) {
  const [, ofNodes] = partsOfPage();
  writeFileSync(page, pageOf({ observed, loads, failures, conditions }) + ofNodes);
}
for (const failure of failures) console.error(`✗ ${failure}`);
exitWith(failures.length);

async function runNodes(choice: Choice): Promise<never> {
  const say = (text: string) => console.error(`  ${text}`);
  const results = await observeNodes(choice, quick ? quickPace : fullPace, say).catch((error: unknown) => {
    console.error(error);
    return exitWith(1);
  });
  console.log(`\n${nodesTables(results)}`);
  if (write) {
    const [ofProviders] = partsOfPage();
    writeFileSync(page, `${ofProviders}\n${nodesSection({ ...results, conditions })}`);
  }
  return exitWith(results.observed.filter(({ broken }) => broken.length > 0).length + failures.length);
}

/** What is measured by two commands is written by two, each its own part. */
function partsOfPage(): readonly [ofProviders: string, ofNodes: string] {
  const [ofProviders = '', ...ofNodes] = readFileSync(page, 'utf8').split(`\n${NODES_HEADING}`);
  return [ofProviders, ofNodes.map((text) => `\n${NODES_HEADING}${text}`).join('')];
}

function exitWith(count: number): never {
  console.error(count === 0 ? '✓ all held' : `✗ ${count} did not hold`);
  process.exit(count === 0 ? 0 : 1);
}

/** With what an operator would see in the message's history. */
function nameOf({ provider, fault, ms, dispatches }: Observation): string {
  const history = dispatches.map((each) => [each.provider, each.reason ?? 'accepted', each.code].join(' ').trim());
  return `${provider}, ${fault} (${[...history, `${Math.round(ms)} ms`].join(', ')})`;
}

function readOptionsOrExit(): { readonly quick: boolean; readonly write: boolean; readonly nodes: Choice | undefined } {
  try {
    const flag = { type: 'boolean', default: false } as const;
    const list = { type: 'string', multiple: true, default: [] as string[] } as const;
    const { values } = parseArgs({
      options: {
        quick: flag,
        write: flag,
        help: flag,
        nodes: flag,
        store: list,
        fault: list,
        rounds: { type: 'string', default: '1' },
      },
    });
    if (values.help) {
      console.log(usage);
      process.exit(0);
    }
    if (values.quick && values.write) throw new Error('what is written is measured in full: --write without --quick');
    return {
      quick: values.quick,
      write: values.write,
      nodes: values.nodes ? chooseFaults(values.store, values.fault, values.rounds) : undefined,
    };
  } catch (error) {
    console.error(`faults: ${error instanceof Error ? error.message : String(error)}\n\n${usage}`);
    process.exit(2);
  }
}
