import type { Inbox } from '../providers/inbox.ts';
import type { App } from '../service/app.ts';
import type { Countersign } from '../service/countersign.ts';
import type { Shadow } from '../service/shadow.ts';
import type { MountedDialect } from './dialects/mount.ts';

/** What the HTTP face is built over: the service, and what of its configuration a server has to know. */
export type Served = {
  readonly countersign: Countersign;
  readonly config: {
    readonly mode: 'development' | 'production';
    readonly host: string;
    readonly publicUrl: string | undefined;
    readonly trustedProxies: readonly string[];
    readonly apps: ReadonlyMap<string, App>;
    readonly dialects: readonly MountedDialect[];
  };
  /** in development mode */
  readonly inbox: Inbox | undefined;
  /** the secret part of the path under which a provider's delivery reports are taken */
  readonly reportSecretOf: (providerId: string) => string;
  /** of the apps in shadow mode */
  readonly shadow: Shadow;
  /** ms since the epoch */
  readonly now: () => number;
};
