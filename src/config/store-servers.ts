type Place = 'databaseUrl' | 'redisUrl';

const ENCODE =
  'special characters of a user name or password must be percent-encoded: # as %23, @ as %40, / as %2F, ? as %3F, : as %3A, % as %25';

/**
 * What is wrong with the addresses of the servers that keep the data. Passwords are in them, so a fault never quotes more
 * than a scheme, a host and the name of a database.
 * @param nameOf how a key is called where the person wrote it
 */
export function serverFaults(
  { databaseUrl, redisUrl }: { readonly [key in Place]?: unknown },
  nameOf: (key: Place) => string,
): string[] {
  const faults: string[] = [];
  if (typeof databaseUrl === 'string') faults.push(...databaseFaults(databaseUrl, nameOf('databaseUrl')));
  if (typeof redisUrl === 'string') {
    const name = nameOf('redisUrl');
    faults.push(...redisUrl.split(',').flatMap((url) => redisFaults(url.trim(), name)));
    if (databaseUrl === undefined)
      faults.push(
        `${name} is set and DATABASE_URL is not: Redis keeps what lives minutes, and stands in front of PostgreSQL`,
      );
  }
  return faults;
}

function databaseFaults(text: string, name: string): string[] {
  const url = readAddress(text, name, { schemes: ['postgres', 'postgresql'], example: DATABASE_EXAMPLE });
  if (typeof url === 'string') return [url];
  // libpq's way to name the directory of a socket.
  if (url.hostname === '' && !url.searchParams.has('host')) return [`${name} names no host: ${DATABASE_EXAMPLE}`];
  return url.pathname.length > 1
    ? []
    : [`${name} names no database behind the host ${url.hostname}: ${DATABASE_EXAMPLE}`];
}

function redisFaults(text: string, name: string): string[] {
  const url = readAddress(text, name, { schemes: ['redis', 'rediss'], example: REDIS_EXAMPLE });
  if (typeof url === 'string') return [url];
  if (url.hostname === '') return [`${name} names no host: ${REDIS_EXAMPLE}`];
  return /^\/?\d*$/.test(url.pathname)
    ? []
    : [`${name} has something else than the number of a database behind the host ${url.hostname}: ${REDIS_EXAMPLE}`];
}

const DATABASE_EXAMPLE = 'postgres://user:password@host:5432/database';
const REDIS_EXAMPLE = 'redis://user:password@host:6379';

/** @returns the address, or the fault */
function readAddress(
  text: string,
  name: string,
  { schemes, example }: { readonly schemes: readonly string[]; readonly example: string },
): URL | string {
  const scheme = /^([a-z][a-z0-9+.-]*):\/\//i.exec(text)?.[1]?.toLowerCase();
  if (scheme === undefined) return `${name} is no address: it has to look like ${example}`;
  if (!schemes.includes(scheme))
    return `${name} begins with ${scheme}://, and must begin with ${schemes.map((each) => `${each}://`).join(' or ')}`;
  let url: URL;
  try {
    url = new URL(text);
    for (const part of [url.username, url.password, url.pathname]) decodeURIComponent(part);
  } catch {
    return `${name} cannot be read as an address, ${example}: ${ENCODE}`;
  }
  // Of a password with a `#` in it the rest would be lost without a word.
  return url.hash === '' ? url : `${name} has a # in it: ${ENCODE}`;
}
