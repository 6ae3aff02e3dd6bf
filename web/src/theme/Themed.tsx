import { createTheme, localStorageColorSchemeManager, MantineProvider } from '@mantine/core';
import type { ReactNode } from 'react';
import './mantine.ts';

const theme = createTheme({ primaryColor: 'green', respectReducedMotion: true, cursorType: 'pointer' });

const colorSchemeManager = localStorageColorSchemeManager({ key: 'countersign-color-scheme' });

/** What every page stands in. Variables and classes come from our style sheets: the content policy refuses `<style>`. */
export function Themed({ children }: { readonly children: ReactNode }) {
  return (
    <MantineProvider
      theme={theme}
      colorSchemeManager={colorSchemeManager}
      defaultColorScheme="auto"
      withCssVariables={false}
      withGlobalClasses={false}
    >
      {children}
    </MantineProvider>
  );
}
