import { basename } from 'node:path';
import react from '@vitejs/plugin-react';
import { defineConfig } from 'vite';

export default defineConfig({
  base: './',
  plugins: [react()],
  build: {
    outDir: 'dist',
    emptyOutDir: true,
    target: 'es2023',
    // Everything is a file of its own: the pages' content policy allows no `data:` addresses.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    rolldownOptions: {
      // One entry per page; the pages share what they have in common.
      input: ['inbox.html'].map((page) => `${import.meta.dirname}/${page}`),
    },
  },
  experimental: {
    // `inbox.html` is served as `/inbox` and its files below `/inbox/assets/`. With addresses relative to the page
    // that holds under any prefix that a reverse proxy puts in front.
    renderBuiltUrl: (file, { hostId, hostType }) =>
      hostType === 'html' ? `./${basename(hostId, '.html')}/${file}` : { relative: true },
  },
});
