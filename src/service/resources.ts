import type { Resource, ResourceBody } from '../domain/store.ts';
import { appOf, type ServiceContext } from './context.ts';
import { DEFAULT_APP } from './start-verification.ts';

type Named = {
  readonly app?: string;
  /** what it is, e.g. `service` */
  readonly kind: string;
  /** unlike any other of the app, of whatever kind */
  readonly id: string;
};

/** Small JSON records that a surface keeps for an app: settings that callers make while the service runs. */
export interface Resources {
  /**
   * @param request `parent`: the resource that it belongs to, and is removed with; `uniqueKey`: no two of a kind under one
   * parent have the same; `most`: at most that many of its kind under its parent
   * @returns `exists` when its id or unique key is taken, `orphan` when there is no such parent
   */
  add(
    request: Named & {
      readonly parent?: string;
      readonly uniqueKey?: string;
      readonly body: ResourceBody;
      readonly most?: number;
    },
  ): Promise<
    | { readonly kind: 'added'; readonly resource: Resource }
    | { readonly kind: 'exists' }
    | { readonly kind: 'too-many' }
    | { readonly kind: 'orphan' }
  >;
  get(request: Named): Promise<Resource | undefined>;
  /** In the order in which they were added. @param request `after`: `next` of the page before */
  list(request: {
    readonly app?: string;
    readonly kind: string;
    readonly parent?: string;
    readonly limit?: number;
    readonly after?: string;
  }): Promise<{ readonly resources: readonly Resource[]; readonly next: string | undefined }>;
  /** Puts the given fields of the body in the place of the old ones; the others stay. */
  update(
    request: Named & { readonly body: ResourceBody; readonly uniqueKey?: string },
  ): Promise<
    | { readonly kind: 'updated'; readonly resource: Resource }
    | { readonly kind: 'unknown' }
    | { readonly kind: 'exists' }
  >;
  /** With all that belong to it, and to those. False when there is no such resource. */
  remove(request: Named): Promise<boolean>;
}

export function resourcesOf(context: ServiceContext): Resources {
  const { store, now } = context;
  const idOf = (app = DEFAULT_APP) => appOf(context, app).id;
  return {
    async add({ app, kind, id, parent, uniqueKey, body, most }) {
      const at = now();
      const resource = { app: idOf(app), kind, id, parent, uniqueKey, body, createdAt: at, updatedAt: at };
      const outcome = await store.addResource(resource, most);
      return outcome === 'added' ? { kind: outcome, resource } : { kind: outcome };
    },
    get: async ({ app, kind, id }) => store.getResource(idOf(app), kind, id),
    list: async ({ app, kind, parent, limit = 50, after }) =>
      store.listResources({ app: idOf(app), kind, parent, limit, after }),
    update: async ({ app, kind, id, body, uniqueKey }) =>
      store.updateResource({ app: idOf(app), kind, id, now: now(), body, uniqueKey }),
    remove: async ({ app, kind, id }) => store.removeResource(idOf(app), kind, id),
  };
}
