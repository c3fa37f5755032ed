"""The models that MaskGIT is compared with: a small GAN and a small diffusion model (lesson 8; paper table 1).

MaskGIT    tokens, all of them masked ──8 passes, each fixes more tokens─────────> image
gan        noise vector ───────────────1 pass────────────────────────────────────> image
diffusion  noise picture ──────────────T passes, less noise after each───────────> image     (T = 250 in ADM)
"""
