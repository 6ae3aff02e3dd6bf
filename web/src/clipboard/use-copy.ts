import { useCallback, useEffect, useRef, useState } from 'react';
import { copyText } from './copy-text.ts';

const copiedForMs = 2000;

/** Copies texts and remembers for a moment which one it was, by a key of the caller's choice. */
export function useCopy(announce: (text: string) => void) {
  const [copiedKey, setCopiedKey] = useState<string>();
  const timer = useRef<ReturnType<typeof setTimeout>>(undefined);
  useEffect(() => () => clearTimeout(timer.current), []);

  const copy = useCallback(
    async (key: string, text: string, what: string) => {
      const isCopied = await copyText(text);
      announce(isCopied ? `Copied ${what}` : `The browser did not allow copying ${what}`);
      if (!isCopied) return;
      setCopiedKey(key);
      clearTimeout(timer.current);
      timer.current = setTimeout(() => setCopiedKey(undefined), copiedForMs);
    },
    [announce],
  );

  return { copiedKey, copy };
}
