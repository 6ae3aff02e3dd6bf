import type { TestProject } from 'vitest/node';
import { installFromDebian } from './servers/debian.ts';
import { findPrograms, isExecutable } from './servers/machine.ts';
import { type SharedServers, startSharedServers } from './servers/shared.ts';

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

const noServers: SharedServers = { postgresUrl: null, redisUrl: null, redisClusterUrls: null, redisClusterTurns: null };

/**
 * Runs once before all tests: what they need from the machine is looked for here, and installed where that is possible.
 * @returns what runs once after them
 */
export async function setup(project: TestProject): Promise<() => Promise<void>> {
  project.provide('chromium', wants(project, browserTests) ? findOrInstallChromium() : null);
  const { isCi, workers } = { isCi: Boolean(process.env['CI']), workers: project.config.maxWorkers };
  const shared = wants(project, serverTests) ? await startSharedServers({ isCi, workers }) : undefined;
  const { postgresUrl, redisUrl, redisClusterUrls, redisClusterTurns } = shared?.servers ?? noServers;
  project.provide('postgresUrl', postgresUrl);
  project.provide('redisUrl', redisUrl);
  project.provide('redisClusterUrls', redisClusterUrls);
  project.provide('redisClusterTurns', redisClusterTurns);
  return async () => shared?.close();
}

const browserTests = /\/test\/web\//;
/** Nothing but SQLite is asked for by `test/stores/sqlite*`. */
const serverTests = /\/test\/(?:stores\/(?!sqlite)|many-nodes\/|servers\/|cli\/migrate)/;

/** False for a run of named files without one of those among them, such as `npm test -- test/domain`. */
function wants(project: TestProject, tests: RegExp): boolean {
  const files = project.vitest.state.getPaths();
  return files.length === 0 || files.some((file) => tests.test(file.replaceAll('\\', '/')));
}

function findOrInstallChromium(): string | null {
  const found = findChromium() ?? (installFromDebian('Chromium', ['chromium']) ? findChromium() : null);
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
  return findPrograms(names)[0] ?? macApplications.find(isExecutable) ?? null;
}
