// The one entry behind every npm script. It runs under whatever Node.js the machine has (20 or newer),
// makes the clone whole (packages, built pages) when something changed, and hands over to the pinned Node.js.
import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const onWindows = process.platform === 'win32';
const pinnedNode = join(root, 'node_modules', 'node', 'bin', onWindows ? 'node.exe' : 'node');

const program = join(root, 'src/cli/main.ts');

const commands = {
  serve: (args) => run(program, ['serve', ...args], { pages: true, cwd: workingDirectory() }),
  cli: (args) => run(program, args, { cwd: workingDirectory() }),
  dev: (args) => {
    buildPages();
    const pages = spawn(pinnedNode, [bin('vite'), 'build', 'web', '--watch', '--logLevel', 'warn'], options());
    process.once('exit', () => pages.kill());
    return run('--watch', [program, 'serve', ...args], { cwd: workingDirectory() });
  },
  test: (args) => run(bin('vitest'), ['run', ...args], { pages: true }),
  bench: (args) => run('bench/main.ts', args),
  faults: (args) => run('faults/main.ts', args),
  check: () => {
    step('types', bin('tsc'), ['--noEmit', '-p', '.']);
    step('types of the pages', bin('tsc'), ['--noEmit', '-p', 'web']);
    step('lint and format', bin('biome'), ['check', '--error-on-warnings', '.']);
    step('unused code', bin('knip'), []);
  },
  format: () => step('format', bin('biome'), ['check', '--write', '.']),
  build: () => {
    buildPages();
    step('library', bin('tsc'), ['-p', 'tsconfig.build.json']);
    step('assets', 'scripts/copy-assets.mjs', []);
  },
};

const [name = '', ...args] = process.argv.slice(2);
const command = commands[name];
if (!command) fail(`unknown command '${name}'; there are: ${Object.keys(commands).join(', ')}`);
install();
await command(args);

/** Installs what the lock file says, once per lock file. */
function install() {
  const wanted = digestOf(['package.json', 'package-lock.json'].map((file) => readFileSync(join(root, file))));
  const stamp = join(root, 'node_modules', '.countersign-installed');
  if (readStamp(stamp) === wanted && existsSync(pinnedNode)) return;
  console.error('Installing packages (the first time, or because package-lock.json changed) …');
  const npm = spawnSync('npm', ['ci', '--loglevel=error', '--include=dev', '--no-fund', '--no-audit'], {
    ...options(),
    stdio: ['ignore', 2, 2],
    shell: onWindows,
    // This script may itself run with NODE_ENV=production; the pinned Node.js is a devDependency.
    env: { ...process.env, NODE_ENV: '' },
  });
  if (npm.status !== 0) fail('npm ci failed; what it says above is the reason');
  if (!existsSync(pinnedNode)) {
    fail("the package 'node' did not install its binary: npm was told not to run install scripts (ignore-scripts)?");
  }
  writeFileSync(stamp, wanted);
}

/** Builds web/ into web/dist when a file of it, or a package, changed since the last build. */
function buildPages() {
  const sources = readdirSync(join(root, 'web'), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && !entry.parentPath.includes(join('web', 'dist')))
    .map((entry) => join(entry.parentPath, entry.name))
    .sort();
  const wanted = digestOf([
    readFileSync(join(root, 'package-lock.json')),
    ...sources.flatMap((file) => [file.slice(root.length), readFileSync(file)]),
  ]);
  const stamp = join(root, 'web', 'dist', '.built-from');
  if (readStamp(stamp) === wanted) return;
  console.error('Building the pages …');
  step('pages', bin('vite'), ['build', 'web', '--logLevel', 'warn']);
  mkdirSync(dirname(stamp), { recursive: true });
  writeFileSync(stamp, wanted);
}

/** Runs a file under the pinned Node.js in this process's place: same streams, signals and exit code. */
function run(file, args, { pages = false, cwd = root } = {}) {
  if (pages) buildPages();
  const child = spawn(pinnedNode, [file, ...args], { ...options(), cwd });
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal));
  child.on('exit', (code, signal) => process.exit(code ?? (signal === 'SIGINT' ? 130 : 143)));
}

/** A folder of the clone with a configuration of its own, where npm was called in one: the examples are such. */
function workingDirectory() {
  const called = process.env.INIT_CWD ?? root;
  const hasConfig = ['ts', 'js', 'json', 'yaml'].some((type) => existsSync(join(called, `countersign.config.${type}`)));
  return called.startsWith(root) && hasConfig ? called : root;
}

function step(what, file, args) {
  const result = spawnSync(pinnedNode, [file, ...args], options());
  if (result.status !== 0) {
    console.error(`✗ ${what}`);
    process.exit(result.status ?? 1);
  }
  console.error(`✓ ${what}`);
}

function options() {
  // The pinned Node.js goes first on the PATH, so that whatever a tool starts runs under it too.
  const path = [dirname(pinnedNode), join(root, 'node_modules', '.bin'), process.env.PATH].join(onWindows ? ';' : ':');
  return { cwd: root, stdio: 'inherit', env: { ...process.env, PATH: path } };
}

/** The script behind a package's command, so that it runs without a shell on every platform. */
function bin(command) {
  const packages = { biome: '@biomejs/biome', tsc: 'typescript' };
  const directory = join(root, 'node_modules', packages[command] ?? command);
  const { bin: bins } = JSON.parse(readFileSync(join(directory, 'package.json'), 'utf8'));
  return join(directory, typeof bins === 'string' ? bins : bins[command]);
}

function digestOf(parts) {
  const hash = createHash('sha256');
  for (const part of parts) hash.update(part);
  return hash.digest('hex');
}

function readStamp(file) {
  return existsSync(file) ? readFileSync(file, 'utf8') : undefined;
}

function fail(message) {
  console.error(`countersign: ${message}`);
  process.exit(1);
}
