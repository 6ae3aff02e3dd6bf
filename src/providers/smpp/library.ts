import type { Socket, Server as TcpServer } from 'node:net';

// The package `smpp` has no types: these are of what is used of it, nothing more.

/** A packet of the protocol (SMPP 3.4, section 3.2): its header, and whatever fields and TLVs it has besides. */
export type Pdu = {
  /** e.g. `submit_sm_resp`; `unknown` for an id that the protocol does not have */
  readonly command: string;
  readonly command_status: number;
  readonly sequence_number: number;
  readonly [field: string]: unknown;
  isResponse(): boolean;
  response(fields?: PduFields): Pdu;
  /** Encodes the fields in place: to be called once. */
  toBuffer(): Buffer;
};
export type PduFields = Readonly<Record<string, unknown>>;

/** The library's own connection; only simulators use it, see `link.ts` for why. */
export type SmppSession = {
  readonly socket: Socket;
  on(event: 'pdu', listener: (pdu: Pdu) => void): void;
  on(event: 'error' | 'close', listener: () => void): void;
  send(pdu: Pdu): boolean;
  destroy(): void;
};

export type SmppLibrary = {
  readonly PDU: {
    new (command: string, fields: PduFields): Pdu;
    new (whole: Buffer): Pdu;
    readonly maxLength: number;
  };
  readonly encodings: {
    /** GSM 7-bit, one septet in each octet. Characters that are not in it silently become `@`. */
    readonly ASCII: { encode(text: string): Buffer };
  };
  createServer(
    options: { readonly key?: string; readonly cert?: string },
    listener: (session: SmppSession) => void,
  ): TcpServer;
};

/** Loaded only when a link is configured. */
export async function loadSmpp(): Promise<SmppLibrary> {
  // @ts-expect-error: it has no declarations
  const { default: library } = (await import('smpp')) as { default: SmppLibrary };
  return library;
}
