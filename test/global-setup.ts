import { spawnSync } from 'node:child_process';
import { accessSync, constants, existsSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import type { TestProject } from 'vitest/node';

declare module 'vitest' {
  interface ProvidedContext {
    /** Path of the browser that tests of the pages drive; `null` where there is none. */
    chromium: string | null;
  }
}

const names = ['chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable'];
const macApplications = [
  '/Applications/Google Chrome.app/Contents/MacOS/Google Chrome',
  '/Applications/Chromium.app/Contents/MacOS/Chromium',
];

/** Runs once before all tests: what they need from the machine is looked for here, and installed where that is possible. */
export function setup(project: TestProject): void {
  project.provide('chromium', wantsBrowser(project) ? findOrInstallChromium() : null);
}

/** False for a run of named files without a page among them, such as `npm test -- test/domain`. */
function wantsBrowser(project: TestProject): boolean {
  const files = project.vitest.state.getPaths();
  return files.length === 0 || files.some((file) => file.replaceAll('\\', '/').includes('/test/web/'));
}

function findOrInstallChromium(): string | null {
  const found = findChromium() ?? installChromium();
  if (found !== null) return found;
  const missing =
    'No Chromium found. Install it (Debian, Ubuntu: `apt-get install chromium`; macOS: `brew install --cask chromium`) ' +
    'or set CHROMIUM_PATH to a Chromium or Chrome.';
  // In CI a skipped test would pass for one that ran.
  if (process.env['CI']) throw new Error(missing);
  console.error(`${missing} Until then the tests of the pages are skipped.`);
  return null;
}

function findChromium(): string | null {
  const given = process.env['CHROMIUM_PATH'];
  if (given) {
    if (isExecutable(given)) return given;
    throw new Error(`CHROMIUM_PATH is '${given}', and there is no program.`);
  }
  const directories = (process.env['PATH'] ?? '').split(delimiter).filter((directory) => directory !== '');
  const candidates = names.flatMap((name) => directories.map((directory) => join(directory, name)));
  return [...candidates, ...macApplications].find(isExecutable) ?? null;
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** Only where it needs no question: as root, on Debian or a child of it. */
function installChromium(): string | null {
  if (process.getuid?.() !== 0 || !existsSync('/etc/debian_version')) return null;
  console.error('Installing Chromium for the tests of the pages: apt-get install chromium (once, a minute or two) …');
  const environment = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  for (const args of [['update'], ['install', '-y', '--no-install-recommends', 'chromium']]) {
    const run = spawnSync('apt-get', args, { env: environment, encoding: 'utf8', maxBuffer: 64 * 1024 * 1024 });
    if (run.status !== 0) {
      console.error(`apt-get ${args.join(' ')} failed: ${run.error?.message ?? run.stderr.trim()}`);
      return null;
    }
  }
  return findChromium();
}
