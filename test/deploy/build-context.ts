import { readdirSync } from 'node:fs';
import { join } from 'node:path';

/**
 * The files that a build may copy: all below a directory but what its `.dockerignore` keeps out. The last line that fits
 * decides, and one that fits a directory fits what is in it.
 * Source: https://docs.docker.com/build/concepts/context/#dockerignore-files (read 2026-11-29)
 */
export function contextFiles(directory: string, ignore: string): Set<string> {
  const rules = ignore
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '' && !line.startsWith('#'))
    .map((line) => ({ isException: line.startsWith('!'), pattern: patternOf(line.replace(/^!/, '')) }));

  function isIgnored(path: string): boolean {
    const parts = path.split('/');
    const selfAndParents = parts.map((_, index) => parts.slice(0, index + 1).join('/'));
    const last = rules.findLast(({ pattern }) => selfAndParents.some((each) => pattern.test(each)));
    return last !== undefined && !last.isException;
  }

  const files = new Set<string>();
  const walk = (below: string) => {
    for (const entry of readdirSync(join(directory, below), { withFileTypes: true })) {
      const path = below === '' ? entry.name : `${below}/${entry.name}`;
      // Not walked into: nothing in them is ever wanted, and they hold a hundred thousand files.
      if (entry.name === 'node_modules' || entry.name === '.git') continue;
      if (entry.isDirectory()) walk(path);
      else if (!isIgnored(path)) files.add(path);
    }
  };
  walk('');
  return files;
}

/** Other than in a shell, `*` fits a name that begins with a dot too, and so `.env`. */
function patternOf(glob: string): RegExp {
  const source = glob
    .split(/(\*\*\/|\*\*|\*|\?)/)
    .map((part) => wildcards[part] ?? part.replace(/[.+^${}()|[\]\\]/g, '\\$&'))
    .join('');
  return new RegExp(`^${source}$`);
}

const wildcards: Readonly<Record<string, string>> = { '**/': '(?:.*/)?', '**': '.*', '*': '[^/]*', '?': '[^/]' };
