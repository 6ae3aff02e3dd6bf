import type { Example } from './inbox-api.ts';

/** The line that starts a verification, at the address under which the browser reached this page. */
export function curlLine(example: Example, page: Pick<Location, 'origin' | 'pathname'>): string {
  // Whatever stands before `/inbox` is a reverse proxy's prefix, and holds for the API as well.
  const prefix = page.pathname.replace(/\/inbox\/?$/, '');
  const { pathname } = new URL(example.url, page.origin);
  const lines = [
    `curl ${page.origin}${prefix}${pathname}`,
    ...(example.api_key === undefined ? [] : [`-H 'Authorization: Bearer ${example.api_key}'`]),
    `-H 'Content-Type: application/json'`,
    `-d '${JSON.stringify({ to: example.to })}'`,
  ];
  return lines.join(' \\\n  ');
}
