import { type SpawnSyncReturns, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** Only there does installing need no question: as root, on Debian or a child of it. */
function mayInstall(): boolean {
  return process.getuid?.() === 0 && existsSync('/etc/debian_version');
}

/**
 * Installs packages of the system, where that needs no question.
 * @param service of the package, which is stopped: the tests run servers of their own
 * @returns whether they were installed
 */
export function installFromDebian(what: string, packages: readonly string[], service?: string): boolean {
  if (!mayInstall()) return false;
  console.error(`Installing ${what} for the tests: apt-get install ${packages.join(' ')} (once, a minute or two) …`);
  const steps = [['update'], ['install', '-y', '--no-install-recommends', ...packages]];
  if (!steps.every((args) => isDone('apt-get', args, apt(args)))) return false;
  if (service !== undefined && existsSync('/run/systemd/system')) {
    spawnSync('systemctl', ['disable', '--now', service], { stdio: 'ignore' });
  }
  return true;
}

/**
 * Unpacks packages of the backports of this Debian into a directory. Nothing is installed, and the system's list of
 * sources stays as it is: what the packages depend on has to be there.
 * @returns whether they were unpacked
 */
export function unpackFromBackports(what: string, packages: readonly string[], directory: string): boolean {
  const source = mayInstall() ? mainSource() : undefined;
  if (source === undefined) return false;
  console.error(`Unpacking ${what} for the tests: ${packages.join(' ')} of ${source.release}-backports (once) …`);
  const [lists, downloads] = [join(directory, 'lists'), join(directory, 'downloads')];
  for (const made of [join(lists, 'partial'), downloads]) mkdirSync(made, { recursive: true });
  const list = join(directory, 'sources.list');
  writeFileSync(list, `deb ${source.uri} ${source.release}-backports main\n`);
  const options = [`Dir::Etc::SourceList=${list}`, 'Dir::Etc::SourceParts=-', `Dir::State::Lists=${lists}`];
  // apt would hand the download to a user of its own, who may not write here.
  const flags = [...options, 'APT::Sandbox::User=root'].flatMap((option) => ['-o', option]);
  const steps = [['update'], ['download', ...packages]];
  const isDownloaded = steps.every((args) => isDone('apt-get', args, apt([...flags, ...args], downloads)));
  const archives = isDownloaded ? readdirSync(downloads) : [];
  const isUnpacked = archives.every((archive) => {
    const args = ['-x', join(downloads, archive), directory];
    return isDone('dpkg-deb', args, spawnSync('dpkg-deb', args, { encoding: 'utf8' }));
  });
  for (const made of [lists, downloads, list]) rmSync(made, { recursive: true, force: true });
  return isDownloaded && isUnpacked;
}

/** Where this system has its own packages from. */
function mainSource(): { uri: string; release: string } | undefined {
  const wanted = ['Created-By: Packages', 'Label: Debian', 'Component: main'];
  const targets = apt(['indextargets', '--format', '$(REPO_URI) $(CODENAME)', ...wanted]).stdout.split('\n');
  const [uri, release] = targets[0]?.split(' ') ?? [];
  return uri && release ? { uri, release } : undefined;
}

function apt(args: readonly string[], cwd?: string): SpawnSyncReturns<string> {
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  return spawnSync('apt-get', args, { env, encoding: 'utf8', maxBuffer: 64 * 1024 * 1024, ...(cwd ? { cwd } : {}) });
}

function isDone(program: string, args: readonly string[], run: SpawnSyncReturns<string>): boolean {
  if (run.status === 0) return true;
  console.error(`${program} ${args.join(' ')} failed: ${run.error?.message ?? run.stderr.trim()}`);
  return false;
}
