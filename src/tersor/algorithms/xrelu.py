import numpy as np, os
from dataclasses import replace
from tersor.algorithms import least_squares_refit as R, fit_scales as S, coordinate_descent as C, bias_correction as B
EPS=float(os.environ.get('EPS','0.1')); M=float(os.environ.get('M','0.25'))
class Mo:
    def __init__(s, own, crossed, fl, mo, mf): s.f=(own,crossed,fl); s.mo=mo; s.mf=mf
    def folds(s): return s.f
    def covariance(s): return s.f[0].mean(0)
    def mean(s): return s.mo
    def float_mean(s): return s.mf
def apply(layer):
    G,O,K=layer.weights.shape
    if K>int(os.environ.get('KMAX','300')) or (np.isinf(layer.low) and np.isinf(layer.high)) or layer.one_scale:
        for a in (R,S,C,B): layer=a.apply(layer)
        return layer
    own, fl = layer.moments.rows()
    y = layer.weights @ fl.transpose(0,2,1) + layer.bias[...,None]
    m = M*y.std(-1,keepdims=True)
    w = np.where((y>layer.low-m)&(y<layer.high+m),1.0,EPS).astype(np.float32)
    n=own.shape[1]; cut=n//2//max(1,1)
    folds=[slice(0,cut),slice(cut,n)]
    out=[[],[],[]]; mo=[];mf=[];ws=[]
    for f in folds:
        A=[np.empty((G,O,K,K)) for _ in range(3)]; a1=np.empty((G,O,K)); a2=np.empty((G,O,K)); sw=w[...,f].sum(-1)
        for g in range(G):
            X,F=own[g,f],fl[g,f]
            for o in range(O):
                ww=w[g,o,f][:,None]; s=ww.sum(); mx=(ww*X).sum(0)/s; mF=(ww*F).sum(0)/s
                Xc=X-mx; Fc=F-mF; WX=ww*Xc
                A[0][g,o]=Xc.T@WX/s; A[1][g,o]=Fc.T@WX/s; A[2][g,o]=Fc.T@(ww*Fc)/s
                a1[g,o]=mx; a2[g,o]=mF
        for l,a in zip(out,A): l.append(a.reshape(G*O,K,K))
        mo.append(a1.reshape(G*O,K)); mf.append(a2.reshape(G*O,K)); ws.append(sw.reshape(-1,1))
    tot=ws[0]+ws[1]
    mean=lambda l:(l[0]*ws[0]+l[1]*ws[1])/tot
    M_=Mo(*[np.stack(l) for l in out], mean(mo), mean(mf))
    r=lambda a:a.reshape(G*O,1,*a.shape[2:])
    L=replace(layer,weights=r(layer.weights),target=r(layer.target),rounded=r(layer.rounded),bias=r(layer.bias),shifted=r(layer.shifted),scales=r(layer.scales),smallest_scales=r(layer.smallest_scales),moments=M_)
    for a in (R,S,C,B): L=a.apply(L)
    u=lambda a:a.reshape(G,O,*a.shape[2:])
    return replace(layer,target=u(L.target),rounded=u(L.rounded),shifted=u(L.shifted),scales=u(L.scales),notes=L.notes)
