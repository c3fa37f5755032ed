"""What MaskGIT was compared with: a GAN and a diffusion model, small, on the same pictures (lesson 8; paper table 1).

MaskGIT    tokens, all of them masked ──8 passes, more tokens are fixed in each──> image
gan        noise vector ───────────────1 pass────────────────────────────────────> image
diffusion  noise picture ──────────────T passes, less noise after each───────────> image     (T = 250 in ADM)
"""
