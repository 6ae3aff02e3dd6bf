import type { Resource } from '../../domain/store.ts';
import { type Answer, type Call, ok, urlOf } from './call.ts';
import { TwilioError } from './errors.ts';

const DEFAULT_PAGE = 50;
const MAX_PAGE = 1000;
const MAX_PAGES = 1_000_000;

export type PageRequest = {
  readonly size: number;
  /** from 0 */
  readonly page: number;
  readonly token: string | undefined;
};

export function pageRequestOf({ query }: Call): PageRequest {
  const size = query.integer('PageSize', 1, 999_999_999) ?? DEFAULT_PAGE;
  if (size > MAX_PAGE) throw new TwilioError(20007, `Page size too large: ${MAX_PAGE} is the most`);
  return { size, page: query.integer('Page', 0, MAX_PAGES) ?? 0, token: query.text('PageToken') };
}

export type Page = {
  readonly key: string;
  readonly items: readonly object[];
  readonly request: PageRequest;
  /** what the next page begins after; undefined on the last one */
  readonly next: { readonly token: string | undefined } | undefined;
  /** of the page before; undefined where it cannot be had */
  readonly previous: { readonly token: string | undefined } | undefined;
};

/** Links are whole addresses, which the SDKs follow as they are. */
export function listAnswer(call: Call, path: string, { key, items, request, next, previous }: Page): Answer {
  const { size, page, token } = request;
  const linkTo = (to: number, itsToken: string | undefined) => {
    const query = new URLSearchParams();
    for (const name of call.query.names()) {
      const value = call.query.text(name);
      if (!name.startsWith('Page') && value !== undefined) query.set(name, value);
    }
    query.set('PageSize', String(size));
    query.set('Page', String(to));
    if (itsToken !== undefined) query.set('PageToken', itsToken);
    return `${urlOf(call, path)}?${query}`;
  };
  return ok({
    [key]: items,
    meta: {
      key,
      page,
      page_size: size,
      first_page_url: linkTo(0, undefined),
      previous_page_url: previous === undefined ? null : linkTo(page - 1, previous.token),
      url: linkTo(page, token),
      next_page_url: next === undefined ? null : linkTo(page + 1, next.token),
    },
  });
}

/** All resources of a kind under one parent: there are never more than a thousand, see `most`. */
export async function resourcesOf(
  { countersign, app }: Pick<Call, 'countersign' | 'app'>,
  kind: string,
  parent?: string,
): Promise<Resource[]> {
  const all: Resource[] = [];
  let after: string | undefined;
  do {
    const { resources, next } = await countersign.resources.list({
      app: app.id,
      kind,
      ...(parent === undefined ? {} : { parent }),
      ...(after === undefined ? {} : { after }),
      limit: MAX_PAGE,
    });
    all.push(...resources);
    after = next;
  } while (after !== undefined);
  return all;
}

/** A page of something that is wholly at hand. */
export function sliceAnswer(call: Call, path: string, key: string, items: readonly object[]): Answer {
  const request = pageRequestOf(call);
  const start = request.page * request.size;
  const anywhere = { token: undefined };
  return listAnswer(call, path, {
    key,
    items: items.slice(start, start + request.size),
    request,
    next: start + request.size < items.length ? anywhere : undefined,
    previous: request.page > 0 ? anywhere : undefined,
  });
}
