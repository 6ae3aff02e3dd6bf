// `npm run bench`: how many verifications one process on one core does, as a share of what Fastify alone does there.
// docs/performance.md says what is measured and why. Tables go to stdout, progress to stderr.
import { mkdirSync, writeFileSync } from 'node:fs';
import { cpus, tmpdir, totalmem } from 'node:os';
import { resolve } from 'node:path';
import { type Disk, probeDisk } from './disk.ts';
import type { Bench } from './measure.ts';
import { type BenchOptions, readOptions, sections, usage } from './options.ts';
import { choosePinning } from './pinning.ts';
import type { SectionReport } from './sections/section.ts';
import { runSection } from './sections.ts';
import { defaultEntry } from './servers.ts';
import { type StoreServers, startStoreServers } from './store-servers.ts';
import { ms, whole } from './tables.ts';

const options = readOptionsOrExit();
const pinning = choosePinning();
const entry = options.serverEntry === undefined ? defaultEntry : resolve(options.serverEntry);
const directory = options.directory ?? tmpdir();
mkdirSync(directory, { recursive: true });

const reports: Partial<Record<string, SectionReport>> = {};
let conditions = '';
let store: StoreServers | undefined;
const disk = probeDisk(directory);
try {
  store = await startStoreServers(options, pinning);
  conditions = describeConditions({ options, pinning, entry, store }, disk);
  console.log(conditions);
  for (const section of sections.filter((name) => options.sections.has(name))) {
    console.error(`\n${section} …`);
    const report = await runSection[section]({ options, pinning, entry, store });
    reports[section] = report;
    console.log(`\n### ${report.title}\n\n${report.text}`);
  }
} catch (error) {
  console.error(`\nbench: ${error instanceof Error ? error.message : String(error)}`);
  process.exitCode = 1;
} finally {
  await store?.close();
}

if (options.jsonFile !== undefined) {
  const measuredAt = new Date().toISOString();
  const figures = Object.entries(reports).map(([name, report]) => [name, report?.figures]);
  const content = { measuredAt, conditions, node: process.version, pinning, ...Object.fromEntries(figures) };
  writeFileSync(options.jsonFile, `${JSON.stringify(content, undefined, 2)}\n`);
}
process.exit();

function readOptionsOrExit(): BenchOptions {
  try {
    const read = readOptions(process.argv.slice(2));
    if (read !== 'help') return read;
    console.log(usage);
    process.exit(0);
  } catch (error) {
    console.error(`bench: ${error instanceof Error ? error.message : String(error)}\n\n${usage}`);
    process.exit(2);
  }
}

/** Figures without these say nothing. */
function describeConditions({ options, pinning, store }: Bench, disk: Disk): string {
  const { rounds, seconds, warmUpSeconds } = options;
  const machine = `${cpus().length} × ${cpus()[0]?.model.trim() ?? 'CPU'}, ${whole(totalmem() / 2 ** 30)} GB`;
  const cores =
    pinning.kind === 'pinned'
      ? `server on CPU ${pinning.server}, load on CPU ${pinning.load}${whereStoresAre(options)}`
      : `NOT PINNED to CPUs (${pinning.why}): compare with nothing`;
  const where = disk.isMemory
    ? `${disk.directory} IS MEMORY, so durability costs nothing here: name a disk with --directory`
    : `fdatasync ${ms(disk.fdatasyncMs)} ms`;
  return [
    `Node.js ${process.version}, ${process.platform} ${process.arch}, ${machine}; ${cores}.`,
    `Store ${store.description}, ${where}. Medians of ${rounds} × ${seconds} s, each after ${warmUpSeconds} s of warm-up.`,
  ].join('\n');
}

function whereStoresAre({ store, placements }: BenchOptions): string {
  if (store === 'sqlite') return '';
  const where = placements[0] === 'same' ? 'that of the server' : 'that of the load';
  return store === 'postgres'
    ? `, PostgreSQL on ${where}`
    : `, Redis on ${where} unless a table says otherwise, PostgreSQL on that of the load`;
}
