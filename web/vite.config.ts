import { svelte } from '@sveltejs/vite-plugin-svelte';
import { defineConfig } from 'vitest/config';

// The output has fixed names, so that the native build can list the files it embeds; the server revalidates them by ETag.
export default defineConfig({
  base: './',
  plugins: [svelte()],
  build: {
    target: 'es2020',
    assetsInlineLimit: 0,
    modulePreload: false,
    cssCodeSplit: false,
    reportCompressedSize: false,
    rollupOptions: {
      output: {
        entryFileNames: 'assets/app.js',
        chunkFileNames: 'assets/[name].js',
        assetFileNames: (asset) => (asset.names.some((name) => name.endsWith('.css')) ? 'assets/app.css' : 'assets/[name][extname]'),
        inlineDynamicImports: true,
      },
    },
  },
  server: {
    // `npm run dev` talks to a server started by hand.
    proxy: Object.fromEntries(['/v1', '/props'].map((path) => [path, process.env.INKSTONE_URL ?? 'http://127.0.0.1:8080'])),
  },
  resolve: process.env.VITEST ? { conditions: ['browser'] } : undefined,
  test: { environment: 'jsdom', include: ['src/**/*.test.ts'], testTimeout: 10_000 },
});
